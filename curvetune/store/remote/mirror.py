"""The mirror of a storage in an object store: an ordinary storage folder on the local disk.

What is written goes to the bucket first and to the mirror then. What is read is read from the
mirror: small files that changed come with a refresh, which is one listing, and others when they are
needed. The folder is this user's own (`mirrors_folder`), and its name is a digest of the address:
a folder elsewhere is never a mirror, whatever it holds.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curvetune.store.names import (
    CELLS,
    ESTIMATES,
    GRIDS,
    PROBES,
    RELABELS,
    SPLITS,
    STEP_TIMES,
)
from curvetune.store.remote.bucket import Bucket, Entry
from curvetune.store.remote.index import Index, stat_of
from curvetune.system.newfile import new_file

SHARED = (CELLS, PROBES, SPLITS, GRIDS, RELABELS, ESTIMATES, STEP_TIMES, "data")
SMALL = (".json", ".jsonl", ".csv")  # what a refresh brings
EVERY_S = 3.0  # between two refreshes that nobody insists on
SHARE = 20  # a refresh that takes long comes so much more seldom
TRUSTED_S = 10.0  # how old a listing may be that says what is not there
CLOCK_S = 300.0  # how long the difference of two clocks is believed
AT_ONCE = 8  # downloads
NEW_S = 2.0  # how far apart time stamps of files and the clock may be
CLOCKS = ".clocks"


class Mirror:
    """The local side of one storage, and how it is kept equal to the other one."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.root = root
        self.bucket = bucket
        self.address = bucket.address
        self._index = Index(root)
        self._listed: dict[str, Entry] = {}
        self._listed_at: float | None = None
        self._took_s = 0.0
        self._lock = threading.RLock()
        self._clock: tuple[float, float] | None = None  # server's less ours, and when

    def key(self, path: Path) -> str | None:
        """Return the key of a file; None for what stays on this machine."""
        parts = path.relative_to(self.root).parts
        if not parts or parts[0] not in SHARED or any(part.startswith(".") for part in parts):
            return None
        return "/".join(parts)

    def push(self, path: Path, content: bytes | Path, *, once: bool = False) -> str | None:
        """Write a file's content to the bucket; return its ETag, or None if it stays here.

        Raises:
            ThereError: `once`, and it is there.
            StorageError: it cannot be written.
        """
        key = self.key(path)
        if key is None:
            return None
        etag = self.bucket.put(key, content, once=once)
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._listed[key] = Entry(key, size, etag, self.now())
        return etag

    def note(self, path: Path, etag: str | None) -> None:
        """Note that a file here is what the bucket has as `etag`."""
        if etag is not None and (key := self.key(path)) is not None:
            self._index.note(key, etag)

    def pull(self, path: Path) -> bool:
        """Bring a file here, if the bucket has it; say whether it has."""
        key = self.key(path)
        if key is None or not self.has(path):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = new_file(path.parent, f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                entry = self.bucket.receive(key, file.write)
            if entry is None:
                return False
            os.utime(temporary, (entry.modified, entry.modified))
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        self._index.note(key, entry.etag)
        return True

    def has(self, path: Path) -> bool:
        """Say whether the bucket has a file, by a listing that is new enough or by asking."""
        key = self.key(path)
        if key is None:
            return False
        if self._age() <= TRUSTED_S:
            return key in self._listed
        return self.bucket.head(key) is not None

    def etag(self, path: Path) -> str | None:
        """Return the ETag of the object that a file here is a copy of; None if unknown."""
        key = self.key(path)
        return None if key is None else self._index.etag(key)

    def is_still(self, path: Path, etag: object) -> bool:
        """Say whether the bucket has a file under an ETag that is known to be right."""
        key = self.key(path)
        if key is None or not etag:
            return False
        entry = self._listed.get(key) if self._age() <= TRUSTED_S else self.bucket.head(key)
        return entry is not None and entry.etag == etag

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files from the bucket, in order."""
        for path in paths:
            if (key := self.key(path)) is not None:
                self.bucket.delete([key])
                self._listed.pop(key, None)
                self._index.forget(key)

    def below(self, folder: Path) -> list[Path]:
        """Return the files that the bucket has below a folder, asked now."""
        return [self.root / entry.key for entry in self.bucket.list(self._folder_key(folder))]

    def entries(self, folder: Path, *, fresh: bool) -> list[Entry]:
        """Return the objects below a folder, asked now or by the last listing if that is new."""
        key = self._folder_key(folder)
        if not fresh and self._age() <= TRUSTED_S:
            return [e for k, e in list(self._listed.items()) if k.startswith(f"{key}/")]
        return list(self.bucket.list(key))

    def pull_folder(self, folder: Path) -> None:
        """Make the files of a folder what the bucket has: before somebody writes there."""
        began = time.time()
        found = {entry.key: entry for entry in self.entries(folder, fresh=True)}
        self._listed.update(found)
        self._drop_stale(found, f"{self._folder_key(folder)}/", began)
        self._bring(found.values())

    def refresh(self, every_s: float = EVERY_S) -> None:
        """Bring what is small and has changed, unless that was done a moment ago.

        Raises:
            StorageError: the bucket cannot be listed or read.
        """
        with self._lock:
            if self._age() < max(every_s, SHARE * self._took_s if every_s else 0.0):
                return
            began = time.monotonic()
            self._list()
            self._bring(e for e in self._listed.values() if e.key.endswith(SMALL))
            self._index.shorten()
            self._took_s = time.monotonic() - began

    def look(self) -> None:
        """List what is there, once in a process, and remove what is here and no longer there."""
        with self._lock:
            if self._listed_at is None:
                self._list()

    def now(self) -> float:
        """Return the time by the server's clock, asked every few minutes."""
        if self._clock is None or time.monotonic() - self._clock[1] > CLOCK_S:
            key = f"{CLOCKS}/{uuid.uuid4().hex}"
            before = time.monotonic()
            self.bucket.put(key, b"")
            entry = next((e for e in self.bucket.list(CLOCKS) if e.key == key), None)
            self.bucket.delete([key])
            modified = time.time() if entry is None else entry.modified
            self._clock = modified - before, time.monotonic()
        return self._clock[0] + time.monotonic()

    def _list(self) -> None:
        began = time.time()
        found = {entry.key: entry for entry in self.bucket.list()}
        self._listed, self._listed_at = found, time.monotonic()
        self._drop_stale(found, "", began)

    def _age(self) -> float:
        return float("inf") if self._listed_at is None else time.monotonic() - self._listed_at

    def _bring(self, entries: Iterable[Entry]) -> None:
        wanted = [
            self.root / entry.key
            for entry in entries
            if self.key(self.root / entry.key) is not None
            and self._index.etag(entry.key) != entry.etag
        ]
        if wanted:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self.pull, wanted))

    def _drop_stale(self, found: dict[str, Entry], prefix: str, began: float) -> None:
        """Remove files whose objects were removed, or replaced, by somebody else.

        What was written here since the listing began is newer than it.
        """
        for key in self._index.known():
            stat = stat_of(self.root / key)
            if not key.startswith(prefix) or stat is None or stat[1] / 1e9 > began - NEW_S:
                continue
            is_gone = key not in found
            if is_gone or (not key.endswith(SMALL) and self._index.etag(key) != found[key].etag):
                with contextlib.suppress(OSError):
                    (self.root / key).unlink(missing_ok=True)
                self._index.forget(key)

    def _folder_key(self, folder: Path) -> str:
        return "/".join(folder.relative_to(self.root).parts)
