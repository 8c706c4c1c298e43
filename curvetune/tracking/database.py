"""MLflow's database in the storage, which may be deleted at any time, also while it is in use.

MLflow keeps a database open until its process ends, and one that was deleted meanwhile goes on
taking what is written, for nobody to read. MLflow knows a database by its address; so another
spelling of the same path makes it open, or make, the file that is there now.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from urllib.parse import urlsplit

from curvetune.errors import BackendError

SCHEME = "sqlite:///"
File = tuple[int, int]  # device and number

_opened: dict[str, tuple[str, File | None]] = {}  # by path: its spelling, and the file it opened


class Database:
    """The file of an SQLite address; of any other address, nothing."""

    def __init__(self, uri: str) -> None:
        self._path = uri.removeprefix(SCHEME) if _is_file(uri) else None
        self._file: File | None = None
        self.uri = uri
        if self._path is None:
            return
        spelling, file = _opened.get(self._path, (self._path, None))
        if file is not None and file != _file(self._path):
            name = os.path.basename(spelling)
            spelling, file = f"{spelling.removesuffix(name)}./{name}", None
        _opened[self._path] = (spelling, file)
        self.uri = SCHEME + spelling

    def create(self, make: Callable[[str], object]) -> None:
        """Let `make` make a database at the address it gets, if there is no file: whole or not.

        MLflow makes its tables in dozens of steps. A process that is killed meanwhile would leave
        a database that MLflow refuses from then on.
        """
        if self._path is None or os.path.exists(self._path):
            return
        home, name = os.path.split(self._path)
        with tempfile.TemporaryDirectory(prefix="curvetune-") as folder:
            made = os.path.join(folder, name)
            make(SCHEME + made)
            handle, whole = tempfile.mkstemp(dir=home or ".", prefix=f".{name}.")
            os.close(handle)
            shutil.copyfile(made, whole)
            os.chmod(whole, 0o644)
        try:
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(whole, self._path)
        finally:
            os.unlink(whole)

    def opened(self) -> None:
        """Note which file MLflow has opened."""
        if self._path is not None:
            spelling, file = _opened[self._path]
            self._file = file or _file(self._path)
            _opened[self._path] = (spelling, self._file)

    def check(self) -> None:
        """Do nothing while that file is still there.

        Raises:
            BackendError: it is gone, or another one has taken its place.
        """
        if self._path is not None and _file(self._path) != self._file:
            raise BackendError(f"{self._path} was deleted or replaced while it was in use")


def _is_file(uri: str) -> bool:
    return uri.startswith(SCHEME) and len(uri) > len(SCHEME) and not urlsplit(uri).query


def _file(path: str) -> File | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
