"""A new file under a name that nobody has, readable and writable for whom the umask says.

`tempfile` makes files for one user alone (0600) whatever the umask is. In a folder that a group
shares, that or any fixed mode would be wrong for somebody. The kernel applies the umask, so it
need not be asked for, which would change it for the other threads for a moment.
"""

import os
import secrets

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
