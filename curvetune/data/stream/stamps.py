"""What changes when a file does, told without reading it."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from curvetune.data.pixels import Encoded

YOUNG_S = 2.0  # the coarsest clock of a file system: a change within it may leave the times alike


@runtime_checkable
class Filed(Protocol):
    """Encoded images that know in which files they are."""

    def files(self) -> Iterable[Path]:
        """Return every file that is read for them, each once."""
        ...


def stamp_of(encoded: Encoded, now: float | None = None) -> str | None:
    """Return a text that is another one when a row, or a file that it is in, is another one.

    A time of change cannot be set back, so a file that was replaced by one with the same size and
    time of writing is told apart too.

    Args:
        now: Unix seconds, by the clock of the file system.

    Returns:
        None if that cannot be told: a file was just written, or nobody knows the files.
    """
    if not isinstance(encoded, Filed):
        return None
    now = time.time() if now is None else now
    total = hashlib.sha256()
    for path in encoded.files():
        stat = _stat(path)
        if stat is not None and abs(now - stat.st_ctime) < YOUNG_S:
            return None
        facts = stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        total.update(f"{path}\n{facts}\n".encode(errors="surrogateescape"))
    for row in range(len(encoded)):
        total.update(f"{encoded.name(row)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:  # it is an image that cannot be read, until it is there
        return None
