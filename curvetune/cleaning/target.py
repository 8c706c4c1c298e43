"""The folder that a clean data set is written to: whole, or not there."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curvetune.errors import ConfigError, StorageError, StorageFullError, printable

NO_SPACE = 28  # ENOSPC


class Target:
    """A folder under another name until it is whole.

    Args:
        source: the folder of the data, which is only read.
        copies: whether files are copied; else they are links to those in the source.
    """

    def __init__(self, folder: Path, source: Path, *, copies: bool) -> None:
        self.folder, self._source, self._copies = folder, source.absolute(), copies

    def path(self, name: str) -> Path:
        """Return a place in the folder, whose own folder exists then."""
        found = self.folder / name
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def take(self, name: str, new: str | None = None) -> None:
        """Take over a file of the source, perhaps under another name."""
        target = self.path(new or name)
        if self._copies:
            shutil.copy2(self._source / name, target)
        else:
            target.symlink_to(self._source / name)


@contextmanager
def new_folder(out: Path, source: Path, *, copies: bool) -> Iterator[Target]:
    """Give a folder to a block; at its end it is `out`. If the block fails, nothing is left.

    Raises:
        ConfigError: `out` is there already, or in the data itself.
        StorageError: it cannot be written.
    """
    out = Path(os.path.abspath(out))  # what is hidden must stand beside it, also of "."
    check_out(out, source)
    hidden = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        hidden.mkdir(parents=True)
        yield Target(hidden, source, copies=copies)
        if out.is_dir():
            out.rmdir()  # an empty one
        hidden.rename(out)
    except OSError as error:
        kind = StorageFullError if error.errno == NO_SPACE else StorageError
        raise kind(
            f"--out {printable(out)}: cannot be written ({error.strerror}: "
            f"{printable(error.filename or '')}); nothing of it is left: give another folder"
        ) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def check_out(out: Path, source: Path) -> None:
    """Refuse a folder that has something in it, or that would become a part of the data.

    Raises:
        ConfigError: it is one.
    """
    if os.path.lexists(out) and (not out.is_dir() or out.is_symlink() or any(out.iterdir())):
        raise ConfigError(
            f"--out {printable(out)}: it is there already, and nothing is written over; give a "
            f"folder that is empty or not there"
        )
    inside = source if source.is_dir() else source.parent
    if out.resolve().is_relative_to(inside.resolve()):
        raise ConfigError(
            f"--out {printable(out)}: it is in the data's own folder, {printable(inside)}, which "
            f"stays as it is; give a folder beside it"
        )
