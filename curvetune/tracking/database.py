"""MLflow's database in the storage, which may be deleted at any time, also while it is in use.

MLflow keeps a database open until its process ends, and one that was deleted meanwhile goes on
taking what is written, for nobody to read. MLflow knows a database by its address; so another
spelling of the same path makes it open, or make, the file that is there now.
"""

import contextlib
import grp
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence

from curvetune.errors import BackendError, printable
from curvetune.system.newfile import new_file
from curvetune.tracking.address import address_of, path_in

EFFECTIVE = os.access in os.supports_effective_ids
File = tuple[int, int]  # device and number

_opened: dict[str, tuple[str, File | None]] = {}  # by path: its spelling, and the file it opened


class Database:
    """The file of an SQLite address; of any other address, nothing."""

    def __init__(self, uri: str) -> None:
        self._path = None if "?" in uri else path_in(uri)  # with options it is left as it is
        self._file: File | None = None
        self.uri = uri
        if self._path is None:
            return
        spelling, file = _opened.get(self._path, (self._path, None))
        if file is not None and file != _file(self._path):
            name = os.path.basename(spelling)
            spelling, file = f"{spelling.removesuffix(name)}./{name}", None
        _opened[self._path] = (spelling, file)
        self.uri = address_of(spelling)

    def create(self, make: Callable[[str], object]) -> None:
        """Let `make` make a database at the address it gets, if there is no file: whole or not.

        MLflow makes its tables in dozens of steps. A process that is killed meanwhile would leave
        a database that MLflow refuses from then on.

        Raises:
            BackendError: its folder cannot be written.
        """
        if self._path is None or os.path.exists(self._path):
            return
        if (refusal := self.refusal()) is not None:
            raise BackendError(refusal)
        home, name = os.path.split(self._path)
        with tempfile.TemporaryDirectory(prefix="curvetune-") as folder:
            made = os.path.join(folder, name)
            make(address_of(made))
            handle, whole = new_file(home or ".", f".{name}.")
            os.close(handle)
            shutil.copyfile(made, whole)
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

    def refusal(self) -> str | None:
        """Return why this user cannot write the database, or its journal beside it; None if so.

        MLflow would find out as well, and print a traceback for each statement.
        """
        if self._path is None:
            return None
        folder = os.path.dirname(self._path) or "."
        for path in (folder, self._path):
            # not by opening it: to close it again would end SQLite's locks (fcntl(2))
            if os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=EFFECTIVE):
                return f"{printable(path)} cannot be written: {_who_may(path)}"
        return None


def _file(path: str) -> File | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _who_may(path: str) -> str:
    """Return in words who may write a file or folder, who tried, and what to do."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "its disk is mounted read-only; another tracker can be given with --tracking-uri"
    found = os.stat(path)
    user, group = _name(pwd.getpwuid, found.st_uid), _name(grp.getgrgid, found.st_gid)
    return (
        f"it is {stat.filemode(found.st_mode)} of user {user} and group {group}, and this is user "
        f"{_name(pwd.getpwuid, os.geteuid())}; its owner can let the group write (chmod g+w; umask "
        f"002 does so for what is made later), or give another tracker with --tracking-uri"
    )


def _name(find: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(find(number)[0])
    except KeyError:  # as in a container
        return str(number)
