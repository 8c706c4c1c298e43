"""Which version of an object each file of a mirror is: lines of JSON, of which the last one counts.

    {"key", "etag", "size", "stat"}     `stat` is the file's own size and time when it was written

Lines are appended, so that several processes can share a mirror. A file whose `stat` is another one
now was written by somebody who has not said so: it is not trusted, and read anew.
"""

import contextlib
import json
import os
from pathlib import Path

NAME = ".index.jsonl"
SPARE_LINES = 1000  # beyond one for each file, before the index is written anew

Stat = tuple[int, int]


class Index:
    """The versions of the files of one mirror."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / NAME
        self._read = 0  # bytes
        self._inode = 0
        self._known: dict[str, tuple[str, Stat]] = {}
        self._lines = 0

    def etag(self, key: str) -> str | None:
        """Return the ETag of the object that a file has; None if that is not known."""
        self._catch_up()
        etag, stat = self._known.get(key, (None, None))
        return etag if etag and stat == stat_of(self._root / key) else None

    def note(self, key: str, etag: str) -> None:
        """Note that a file is, as it is now, the version `etag` of its object."""
        stat = stat_of(self._root / key)
        if stat is None:
            return
        line = json.dumps({"key": key, "etag": etag, "stat": stat}).encode() + b"\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def known(self) -> list[str]:
        """Return all keys that were ever noted and whose files may still be there."""
        self._catch_up()
        return list(self._known)

    def forget(self, key: str) -> None:
        """Forget a key, in this process."""
        self._known.pop(key, None)

    def shorten(self) -> None:
        """Write the index anew if most of its lines are old; what others append is not lost long.

        A line that is lost costs one more download.
        """
        self._catch_up()
        if self._lines < 2 * len(self._known) + SPARE_LINES:
            return
        lines = (
            json.dumps({"key": key, "etag": etag, "stat": stat})
            for key, (etag, stat) in self._known.items()
        )
        temporary = self._path.with_name(f"{NAME}.{os.getpid()}")
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(temporary, self._path)

    def _catch_up(self) -> None:
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._read:
                self._inode, self._read, self._lines = found.st_ino, 0, 0
                self._known.clear()
            if found.st_size == self._read:
                return
            file.seek(self._read)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                self._lines += 1
                self._take(line)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut
            row = json.loads(line)
            size, time_ns = row["stat"]
            self._known[str(row["key"])] = (str(row["etag"]), (int(size), int(time_ns)))


def stat_of(path: Path) -> Stat | None:
    """Return what changes when a file is written; None if there is none."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
