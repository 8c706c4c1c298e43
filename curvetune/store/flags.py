"""A file whose being there tells every machine something: that the trials are to stop.

In an object store it is an object. Who looks often asks the store only every few seconds.
"""

import time
from pathlib import Path

from curvetune.store.remote.mirror import Mirror
from curvetune.store.remote.paths import mirror_of

ASK_S = 3.0


class Flag:
    """A flag of one storage, seen from one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mirror = mirror_of(path)
        self._asked: float | None = None

    def is_up(self) -> bool:
        """Say whether it is there.

        Raises:
            StorageError: the object store cannot be asked.
        """
        if self._path.exists():
            return True
        if self._mirror is None or not self._is_due():
            return False
        if self._mirror.bucket.head(_key(self._mirror, self._path)) is None:
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        return True

    def put_up(self) -> None:
        """Make it be there.

        Raises:
            OSError: it cannot be made here.
            StorageError: it cannot be made in the object store.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        if self._mirror is not None:
            self._mirror.bucket.put(_key(self._mirror, self._path), b"")

    def take_down(self) -> None:
        """Make it not be there.

        Raises:
            StorageError: it cannot be removed from the object store.
        """
        self._path.unlink(missing_ok=True)
        if self._mirror is not None:
            self._mirror.bucket.delete([_key(self._mirror, self._path)])

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._asked is not None and now - self._asked < ASK_S:
            return False
        self._asked = now
        return True


def _key(mirror: Mirror, path: Path) -> str:
    return path.relative_to(mirror.root).as_posix()
