"""A new file under a name that nobody has, readable and writable for whom the umask says.

`tempfile` makes files for one user alone (0600) whatever the umask is. In a folder that a group
shares, that or any fixed mode would be wrong for somebody. The kernel applies the umask, so it
need not be asked for, which would change it for the other threads for a moment.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL


def new_file(folder: str | os.PathLike[str], prefix: str) -> tuple[int, str]:
    """Make an empty file in `folder`; return a descriptor to read and write it, and its path.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = os.path.join(folder, prefix + secrets.token_hex(4))
        try:
            return os.open(path, FLAGS, 0o666), path
        except FileExistsError:
            continue


@contextmanager
def whole_file(path: Path) -> Iterator[BufferedRandom]:
    """Give an empty file to a block; at its end the file is on the disk, and is `path`.

    If the block fails, nothing of it is left, and what was at `path` stays.

    Raises:
        OSError: it cannot be made, written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = new_file(path.parent, f".{path.name}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
