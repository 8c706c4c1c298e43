"""Leases as files of a folder: what `lease.py` asks of wherever a lease is.

The file system lets one process make a file, and its time stamps are the heartbeat.
"""

import contextlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Protocol

from curvetune.store.files import cannot_write
from curvetune.store.plain import read_plain

LONGEST_BYTES = 10_000  # of a lease; ours have 300
NAME = re.compile(r"lease-(\d{6,})\.json")


class Tokens(Protocol):
    """The leases of one folder, be it on a disk or in a bucket; `beat` is Unix seconds."""

    def all(self) -> list[int]:
        """Return the tokens that are there."""

    def read(self, token: int) -> tuple[float, bytes]:
        """Return the last beat, 0 once released, and the content; OSError if it is not there."""

    def make(self, token: int, text: str) -> None:
        """Make a lease once; FileExistsError if it is there, StorageError if it cannot be."""

    def beat(self, token: int, text: str) -> None:
        """Renew the heartbeat; OSError or StorageError if that fails."""

    def release(self, token: int, text: str) -> None:
        """Leave it free for others; OSError or StorageError if that fails."""

    def remove(self, token: int) -> None:
        """Remove a lease, if it is there."""

    def now(self) -> float:
        """Return the time by the clock that the beats are of."""


class FolderTokens:
    """`Tokens` on a disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        return tokens_in(names)

    def read(self, token: int) -> tuple[float, bytes]:
        path = token_path(self._folder, token)
        beat = path.stat(follow_symlinks=False).st_mtime
        return beat, read_plain(path, LONGEST_BYTES)

    def make(self, token: int, text: str) -> None:
        path = token_path(self._folder, token)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
            path.write_text(text, encoding="utf-8")
        except FileExistsError:
            raise
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # an empty file, on a full disk: it would look held
            raise cannot_write(path, error, len(text)) from error

    def beat(self, token: int, text: str) -> None:
        os.utime(token_path(self._folder, token))

    def release(self, token: int, text: str) -> None:
        os.utime(token_path(self._folder, token), (0, 0))

    def remove(self, token: int) -> None:
        token_path(self._folder, token).unlink(missing_ok=True)

    def now(self) -> float:
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".clock.") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # read-only, or full
            return time.time()


def token_path(folder: Path, token: int) -> Path:
    """Return the file of a lease."""
    return folder / f"lease-{token:06d}.json"


def tokens_in(names: list[str]) -> list[int]:
    """Return the tokens among names of files."""
    return [int(match[1]) for name in names if (match := NAME.fullmatch(name))]
