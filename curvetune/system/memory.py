"""How much memory a process may still take, of the machine and of the groups that hold it."""

from collections.abc import Iterable
from pathlib import Path

from curvetune.system.machine import own_cgroups, text_of

MEMINFO = Path("/proc/meminfo")
KIB = 1024


def free_memory(meminfo: Path = MEMINFO, cgroups: Iterable[Path] | None = None) -> int | None:
    """Return the bytes that are free, or can be freed at once; None where nobody says.

    Args:
        cgroups: that hold this process; found if None.
    """
    rooms = [_room(folder) for folder in (own_cgroups() if cgroups is None else cgroups)]
    return min((room for room in (_available(meminfo), *rooms) if room is not None), default=None)


def _available(meminfo: Path) -> int | None:
    lines = (text_of(meminfo) or "").splitlines()
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((int(kib) * KIB for kib in found), None)


def _room(folder: Path) -> int | None:
    """Return what a cgroup (of version 2) is from its limit; None if it has none."""
    limit, used = text_of(folder / "memory.max"), text_of(folder / "memory.current")
    if limit is None or used is None or not limit.isdigit():
        return None
    # pages of files that nobody uses are given back before the limit hurts
    stat = dict(line.split() for line in (text_of(folder / "memory.stat") or "").splitlines())
    return max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0)))
