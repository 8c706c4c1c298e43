"""Leases as objects of a bucket: made by conditional puts, renewed by putting them again.

An age is the difference of two time stamps of the server. Those may be whole seconds, so a lease is
given two seconds more.
"""

import json
from pathlib import Path

from curvetune.store.remote.bucket import Entry, ThereError
from curvetune.store.remote.mirror import Mirror
from curvetune.store.tokens import token_path, tokens_in

WHOLE_SECONDS = 2.0
RELEASED = "released"


class BucketTokens:
    """`Tokens` in a bucket."""

    def __init__(self, mirror: Mirror, folder: Path, *, fresh: bool) -> None:
        """Look at the leases of a folder of the mirror.

        Args:
            fresh: ask the bucket now; else what the last refresh saw may do, which is for showing.
        """
        self._mirror = mirror
        self._folder = folder
        self._fresh = fresh

    def all(self) -> list[int]:
        return tokens_in([entry.key.rpartition("/")[2] for entry in self._entries()])

    def read(self, token: int) -> tuple[float, bytes]:
        path = token_path(self._folder, token)
        found = self._mirror.bucket.get(self._key(token)) if self._fresh else None
        if found is None and not self._fresh:
            entry = next((e for e in self._entries() if e.key == self._key(token)), None)
            if entry is not None and self._mirror.etag(path) != entry.etag:
                found = self._mirror.bucket.get(self._key(token))
            elif entry is not None:
                found = path.read_bytes(), entry
        if found is None:
            raise FileNotFoundError(str(path))
        content, entry = found
        return (0.0 if _is_released(content) else entry.modified + WHOLE_SECONDS), content

    def make(self, token: int, text: str) -> None:
        try:
            self._mirror.bucket.put(self._key(token), text.encode(), once=True)
        except ThereError as error:
            raise FileExistsError(str(error)) from None

    def beat(self, token: int, text: str) -> None:
        self._mirror.bucket.put(self._key(token), text.encode())

    def release(self, token: int, text: str) -> None:
        content = json.dumps(json.loads(text) | {RELEASED: True})
        self._mirror.bucket.put(self._key(token), content.encode())

    def remove(self, token: int) -> None:
        self._mirror.bucket.delete([self._key(token)])
        token_path(self._folder, token).unlink(missing_ok=True)

    def now(self) -> float:
        return self._mirror.now()

    def _entries(self) -> list[Entry]:
        return self._mirror.entries(self._folder, fresh=self._fresh)

    def _key(self, token: int) -> str:
        return token_path(self._folder, token).relative_to(self._mirror.root).as_posix()


def _is_released(content: bytes) -> bool:
    try:
        return bool(json.loads(content).get(RELEASED))
    except (ValueError, AttributeError, RecursionError):
        return True  # nobody wrote this
