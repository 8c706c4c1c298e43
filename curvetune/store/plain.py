"""Reading files that somebody else may have put into the storage.

A storage is copied between machines and people. Links, pipes and devices in it are not followed,
names in it are not paths, and nothing in it is code.
"""

import errno
import os
import stat
from pathlib import Path

from curvetune.errors import StorageError
from curvetune.store.remote.paths import mirror_of

MAX_JSON_BYTES = 400_000_000  # DONE.json has thousands; the record of 100,000 cells 130 millions
FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_plain(path: Path) -> int:
    """Return a descriptor of the file at `path`, which is a file and no link to one.

    In a mirror of an object store the file is brought first, if it is not here yet.

    Raises:
        OSError: there is none, or something else is there.
        StorageError: the object store cannot be read.
    """
    try:
        handle = os.open(path, FLAGS | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        if (mirror := mirror_of(path)) is None or not mirror.pull(path):
            raise
        handle = os.open(path, FLAGS | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.ELOOP, "a link, which is not followed", str(path)) from None
        raise
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return handle


def read_plain(path: Path, longest: int | None = None) -> bytes:
    """Return the content of a plain file.

    Raises:
        OSError: there is none, or it is longer than `longest` bytes.
    """
    with os.fdopen(open_plain(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if longest is not None and size > longest:
            raise OSError(errno.EFBIG, f"{size:,} bytes; allowed are {longest:,}", str(path))
        return file.read()


def is_there(path: Path) -> bool:
    """Say whether a file is there, be it here or only in the object store that this mirrors.

    Raises:
        StorageError: the object store cannot be asked.
    """
    # os.path: less than half the time of Path.exists, and thousands of cells are asked about
    return os.path.exists(path) or ((mirror := mirror_of(path)) is not None and mirror.has(path))


def check_inside(root: Path, path: Path) -> None:
    """Refuse a folder of the storage, such as `cells/<id>`, that is a link out of it.

    Raises:
        StorageError: it is one, so that what is written to it would go elsewhere.
    """
    for folder in (path, path.parent):
        if os.path.islink(folder) and folder != root and not _is_within(root, folder):
            raise StorageError(
                f"{folder}: a link that leads out of the storage; nothing is read or written "
                f"through it: remove it, or give the folder that it leads to with --storage"
            )


def _is_within(root: Path, folder: Path) -> bool:
    try:
        return folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False
