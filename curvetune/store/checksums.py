"""The SHA-256 of files, which says whether they are what was published.

A command looks at a result several times: it plans, makes tables and asks what MLflow knows. What
it has checked it does not read again while that stays the same file in the same state. The state
has the kernel's own time of the last change, which nobody can put back.
"""

import hashlib
import io
import os
import stat
import threading
import time
from pathlib import Path

from curvetune.errors import CorruptError
from curvetune.store.plain import FLAGS, open_plain

State = tuple[int, int, int, int, int]  # device, inode, size, times of writing and of any change

CHUNK = 1 << 17  # bytes that are read at once; a file of 310 KB takes as long with any up to 1 MiB
# A file that changes twice within a tick of the kernel's clock looks the same after both. So what
# changed a moment ago is not remembered; 2 s is a file system's coarsest clock, FAT's.
SETTLED_NS = 2_000_000_000
MOST = 100_000  # files that are remembered, of some 450 bytes each

_known: dict[State, str] = {}
_buffers = threading.local()  # a new one for each file takes as long as to hash 10 KB


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file at `path` in hexadecimal; it is read in any case.

    Raises:
        CorruptError: it cannot be read.
    """
    try:
        return _digest(open_plain(path))
    except OSError as error:
        raise CorruptError(f"{path}: cannot be read ({error.strerror})") from None


def has_sha256(path: str, checksum: object) -> bool:
    """Say whether a plain file is at `path`, on this machine, and has this SHA-256."""
    try:
        state = _state(os.stat(path, follow_symlinks=False))
        if (known := _known.get(state)) is not None:
            return known == checksum
        handle = os.open(path, FLAGS | getattr(os, "O_CLOEXEC", 0))
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            os.close(handle)
            return False
        digest = _digest(handle)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return False
    _remember(_state(before), path, digest)
    return digest == checksum


def _remember(state: State, path: str, digest: str) -> None:
    """Remember the digest of a file that did not change while it was read, nor shortly before."""
    try:
        still = _state(os.stat(path, follow_symlinks=False)) == state
    except OSError:
        return
    if still and time.time_ns() - state[-1] > SETTLED_NS and len(_known) < MOST:
        _known[state] = digest


def _state(found: os.stat_result) -> State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(handle: int) -> str:
    """Return the SHA-256 of an open file, and close it."""
    total, buffer = hashlib.sha256(), _buffer()
    with io.FileIO(handle) as file:
        while size := file.readinto(buffer):
            total.update(buffer[:size])
    return total.hexdigest()


def _buffer() -> memoryview:
    """Return the buffer of this thread."""
    found: memoryview | None = getattr(_buffers, "view", None)
    if found is None:
        found = _buffers.view = memoryview(bytearray(CHUNK))
    return found
