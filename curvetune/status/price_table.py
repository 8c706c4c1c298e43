"""What `curvetune plan` prints below its table: time, what sharing saves, disk, past estimates."""

from collections.abc import Iterator

from rich.console import Console

from curvetune.config import METHOD_SECTIONS
from curvetune.planning.price.disk import Disk
from curvetune.planning.price.estimates import Past
from curvetune.planning.price.price import Price, PricedKind
from curvetune.system.tables import Column, Table, print_table
from curvetune.system.units import device_time, duration, size_text

LARGEST = ("curves", "models", "samples", "histories", "splits")


def print_price(price: Price, console: Console) -> None:
    """Print what a plan costs; where nobody knows, how to find out."""
    if price.kinds:
        console.print(f"on {price.machine.device}", style="bold", highlight=False, soft_wrap=True)
        print_table(_kinds(price), console)
        console.print()
    for line in _lines(price):
        console.print(line, highlight=False)


def _kinds(price: Price) -> Table:
    columns = [
        Column("to run", is_key=True, is_left=True),
        Column("runs"),
        Column("each"),
        Column("known from", is_left=True, is_prose=True),
    ]
    rows = []
    for kind in price.kinds:
        each = "unknown" if kind.least is None else _span(kind.least, kind.most or kind.least)
        rows.append((kind.name, str(kind.runs), each, known_from(kind)))
    return Table(columns, rows)


def known_from(kind: PricedKind) -> str:
    """Return in words what an estimate rests on."""
    found = {
        "same": f"{kind.measured} earlier",
        "calibrated": "a short run of it",
        "method": f"{kind.measured} earlier, with other options",
        "cross-entropy": f"{kind.measured} of cross entropy, times {_cost(kind)}",
        None: "",
    }[kind.basis]
    if not kind.unknown:
        return found
    few = f"{kind.unknown} of {kind.runs} unknown" if found else "nothing like it was measured"
    return "; ".join(text for text in (found, few) if text)


def _cost(kind: PricedKind) -> str:
    section = METHOD_SECTIONS.get(kind.name)
    return "1" if section is None else section.cost


def _lines(price: Price) -> Iterator[str]:
    if price.kinds:
        yield _time(price)
    if price.unknown:
        yield _how_to_know(price)
    if price.sharing.saved > 0:
        yield _sharing(price)
    if price.disk is not None and price.kinds:
        yield disk_line(price.disk)
    if price.past is not None and price.past.ratios:
        yield past_line(price.past)


def _time(price: Price) -> str:
    runs = sum(kind.runs for kind in price.kinds)
    if price.unknown == runs:
        return f"time: unknown on {price.machine.device}"
    some = f", and {price.unknown} of {runs} runs unknown" if price.unknown else ""
    line = f"time: {_on_devices(price, price.seconds)}{some}"
    if price.wall is None or price.machine.slots is None:
        return line
    slots = price.machine.slots
    at_once = "1 cell" if slots == 1 else f"{slots} cells"
    if data := price.machine.data_cpus:
        at_once += f" and {data} {'CPU' if data == 1 else 'CPUs'} for images"
    return f"{line}; {duration(price.wall)} with {at_once} at once, without Ray's start-up"


def _how_to_know(price: Price) -> str:
    others = [device for device in price.devices if device != price.machine.device]
    line = "`--calibrate` measures here, in short runs, what is unknown"
    if not others:
        return line
    return f"{line}; `--device {others[0]!r}` asks for a device that was measured"


def _sharing(price: Price) -> str:
    shared = price.sharing
    probes = "1 probe" if shared.probes == 1 else f"{shared.probes} probes"
    line = f"probes: {shared.cells} cells share {probes}, which saves {shared.saved} probe runs"
    if shared.seconds is None:
        return line
    return f"{line}, {_on_devices(price, shared.seconds)}"


def _on_devices(price: Price, seconds: float) -> str:
    return device_time(3600 * price.hours(seconds), is_gpu=price.machine.is_gpu)


def disk_line(disk: Disk) -> str:
    """Return what a grid writes, and whether there is room for it."""
    sizes = sorted(((getattr(disk, name), name) for name in LARGEST), reverse=True)
    most = ", ".join(f"{name} {size_text(size)}" for size, name in sizes[:2])
    line = (
        f"disk: {size_text(disk.stays)} ({most}), and at most {size_text(disk.checkpoints)} more "
        f"while cells run"
    )
    if disk.free is None:
        return line
    if disk.fits:
        return f"{line}; {size_text(disk.free)} free"
    short = size_text(disk.needed - disk.free)
    return (
        f"{line}; only {size_text(disk.free)} free: {short} too few. Free some space "
        f"(`curvetune gc`), or give another folder with --storage"
    )


def past_line(past: Past) -> str:
    """Return how good the estimates of earlier grids were."""
    low, high, n = min(past.ratios), max(past.ratios), len(past.ratios)
    grids = "1 grid" if n == 1 else f"{n} grids, from {low:.2f} to {high:.2f}"
    return f"estimates so far: median ratio actual/estimated {past.median:.2f} (n = {grids})"


def _span(least: float, most: float) -> str:
    low, high = duration(least), duration(most)
    return low if low == high else f"{low} to {high}"
