"""The folder of shards on this machine: who writes, what has room, and when it was last used.

    $CURVETUNE_CACHE/shards/<address>.npy   its time stamp is when a process last opened it
                            locks/<2 digits>

$CURVETUNE_CACHE_GB is how much the shards may take at most. A part of the disk stays free whatever
it says: results are more important. A lock is the kernel's, so a killed process holds none.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data import cache
from curvetune.data.stream import shard
from curvetune.data.stream.shard import Shard, Verdict
from curvetune.errors import ConfigError
from curvetune.system.newfile import whole_file

LIMIT = "CURVETUNE_CACHE_GB"
RESERVE_BYTES, RESERVE_SHARE = 10e9, 0.1  # of the disk, the smaller of them: what stays free
UNFINISHED_S = 3600.0  # how long a file may be in the making

logger = logging.getLogger(__name__)


def folder() -> Path:
    """Return the folder of the shards."""
    return cache.folder() / "shards"


def find(address: str) -> Shard | None:
    """Return a shard that is there and not damaged in its verdicts; it is marked as used.

    A damaged one is removed, so that it is said once.
    """
    try:
        path = _path(address)
        found = shard.read(path)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        logger.warning("shard %s: cannot be read (%s); it is made again", address, error)
        return None
    if found is None:
        logger.warning("%s: not what its checksum says; it is made again", path)
        remove(address)
        return None
    with contextlib.suppress(OSError):  # a cache that others may only read
        os.utime(path)
    return found


def remove(address: str) -> None:
    """Remove a shard, which may be gone already."""
    with contextlib.suppress(OSError, RuntimeError):
        _path(address).unlink()


def keep(address: str, pixels: NDArray[np.uint8], verdicts: list[Verdict]) -> bool:
    """Write a shard, if that is possible; say whether it is there now."""
    try:
        with whole_file(_path(address)) as file:
            shard.write(file, pixels, verdicts)
    except (OSError, RuntimeError) as error:
        logger.warning(
            "shard %s: cannot be written (%s), so its images are decoded again in each epoch; set "
            "CURVETUNE_CACHE to a folder that can be written and has room",
            address,
            error,
        )
        return False
    return True


@contextlib.contextmanager
def building(address: str) -> Iterator[None]:
    """Hold the right to make a shard, waiting for whoever makes it now.

    Where a file system knows no locks, two may make the same shard, which costs only time.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, RuntimeError):
            locks = folder() / "locks"
            locks.mkdir(parents=True, exist_ok=True)
            # 256 names at most, since a lock file cannot be removed safely
            file = stack.enter_context((locks / address[:2]).open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def has(address: str) -> bool:
    """Say whether a shard is there, whatever is in it."""
    with contextlib.suppress(OSError, RuntimeError):
        return _path(address).exists()
    return False


def has_room(size: int) -> bool:
    """Say whether so many bytes more may be kept.

    Raises:
        ConfigError: CURVETUNE_CACHE_GB is no size.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        return size <= _room()
    except (OSError, RuntimeError) as error:
        logger.warning("the cache of images cannot be used (%s); set CURVETUNE_CACHE", error)
        return False


def _room() -> float:
    disk = shutil.disk_usage(folder())
    free = disk.free - min(RESERVE_BYTES, RESERVE_SHARE * disk.total)
    limit = os.environ.get(LIMIT)
    if not limit:
        return free
    if not re.fullmatch(r"\d+(\.\d*)?", limit):
        raise ConfigError(
            f"{LIMIT}={limit!r}: no size; allowed is a number of gigabytes from 0 on, 0.5 for "
            f"instance; without it, as much is kept as the disk has room for"
        )
    return min(free, 1e9 * float(limit) - sum(size for _, size, _ in kept()))


def kept() -> list[tuple[Path, int, float]]:
    """Return each file of decoded images on this machine, its bytes and seconds since its use."""
    now = time.time()
    found = []
    for name in ("shards", "arrays"):
        # RuntimeError: no home directory, so no cache
        with (
            contextlib.suppress(OSError, RuntimeError),
            os.scandir(cache.folder() / name) as entries,
        ):
            for entry in entries:
                with contextlib.suppress(OSError):  # just gone
                    if entry.is_file(follow_symlinks=False):
                        stat = entry.stat(follow_symlinks=False)
                        found.append((Path(entry.path), stat.st_size, now - stat.st_mtime))
    return sorted(found)


def unused(for_s: float) -> list[tuple[Path, int]]:
    """Return files that nobody used for so long, and what killed processes left, with bytes."""
    return [
        (path, size)
        for path, size, age in kept()
        if age > (UNFINISHED_S if path.name.startswith(".") else for_s)
    ]


def _path(address: str) -> Path:
    return folder() / f"{address}.npy"
