"""Times and sizes as people say them, the same everywhere."""

UNITS = ("B", "kB", "MB", "GB", "TB")


def duration(seconds: float | None) -> str:
    """Return a time in words: 4.2 s, 45 s, 3 min, 1 h 20 min, 4 d 2 h; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.2g} s" if 0 < seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def device_time(seconds: float, *, is_gpu: bool) -> str:
    """Return time on devices as people say it, of one CPU or GPU: 4 min of CPU time."""
    return f"{duration(seconds)} of {'GPU' if is_gpu else 'CPU'} time"


def size_text(size: float) -> str:
    """Return bytes for people: 54 MB."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}"
