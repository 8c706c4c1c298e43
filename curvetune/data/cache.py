"""Arrays that took long to make, kept for every later process on this machine.

    $CURVETUNE_CACHE, or ~/.cache/curvetune/data, is the folder; deleting it costs only time.
        arrays/<name>.npy   the array, then the SHA-256 of all that comes before, 32 bytes

A name says what the array was made of, so nothing ever goes out of date. The checksum is in the
file itself, so that one rename makes the two of them visible at once, and `numpy.load` reads the
file all the same.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.system.newfile import whole_file

CHECKSUM_BYTES = 32

logger = logging.getLogger(__name__)


def folder() -> Path:
    """Return the folder of everything that is cached.

    Raises:
        RuntimeError: there is no home directory and no $CURVETUNE_CACHE.
    """
    return Path(os.environ.get("CURVETUNE_CACHE") or "~/.cache/curvetune/data").expanduser()


def kept(name: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return what `make` returns, read-only: mapped from the cache if it is there and whole.

    A damaged file is made again, and a cache that cannot be read or written does without; both
    are logged. Any number of processes may do this at once.
    """
    x = find(name)
    if x is None:
        x = make()
        keep(name, x)
        x.flags.writeable = False  # as if it were mapped
    return x


def _path(name: str) -> Path:
    return folder() / "arrays" / f"{name}.npy"


def find(name: str) -> NDArray[np.uint8] | None:
    """Return the array, or None if it is not there or not what its checksum says."""
    try:
        path = _path(name)
        content = np.memmap(path, np.uint8, "r")
        checksum = content[-CHECKSUM_BYTES:].tobytes()
        if hashlib.sha256(content[:-CHECKSUM_BYTES].data).digest() != checksum:
            logger.warning("%s: not what its checksum says; it is made again", path)
            return None
        with contextlib.suppress(OSError):  # a cache that others may only read
            os.utime(path)  # when it was last used, for `curvetune gc`
        # asarray: Ray copies a memory map into its pickle, but shares a plain array's buffer
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: an empty file
        logger.warning(
            "array %s: cannot be read from the cache (%s); it is made again", name, error
        )
        return None


def keep(name: str, x: NDArray[np.uint8]) -> None:
    """Put an array into the cache, if that is possible."""
    try:
        with whole_file(_path(name)) as file:
            np.save(file, x, allow_pickle=False)
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").digest())
    except (OSError, RuntimeError) as error:
        logger.warning(
            "array %s: cannot be cached (%s), so the next process makes it again; "
            "set CURVETUNE_CACHE to a folder that can be written",
            name,
            error,
        )
