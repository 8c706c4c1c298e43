"""What a storage asks of an object store: put once or again, get, look, list, delete.

Requests that fail for a moment are repeated by obstore. So a conditional put may be refused because
its own first try had succeeded: `put` reads back to tell that from a lost race.
"""

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from curvetune.errors import StorageError
from curvetune.store.remote.address import Address, endpoint
from curvetune.system.redact import redact, shown

REQUEST_S = 120.0  # one request, with its content
CONNECT_S = 5.0
RETRY_S = 60.0  # how long a request is repeated; CURVETUNE_BUCKET_RETRY_S sets another time
MAX_RETRIES = 30
PART_BYTES = 8_000_000  # of a large object that is sent or received
NO_CREDENTIALS = ("redential", "MissingAccount", "169.254.169.254", "metadata")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ThereError(Exception):
    """What was to be made once is there already."""


class Entry(NamedTuple):
    """An object: its key, relative to the storage."""

    key: str
    size: int
    etag: str
    modified: float  # Unix seconds, by the server's clock


class Bucket:
    """The objects below one address."""

    def __init__(self, address: Address) -> None:
        """Take the address; nothing is asked yet.

        Raises:
            StorageError: obstore is not installed, or the environment does not say enough.
        """
        self.address = address
        try:
            import obstore
            from obstore.exceptions import BaseError, NotFoundError
        except ImportError:
            raise StorageError(
                f"--storage {address}: obstore is not installed, which object stores need; "
                f"install it (pip install 'curvetune[objects]'), or give a folder"
            ) from None
        self._obstore: Any = obstore
        # Where there is no object, 0.12 raises Python's own FileNotFoundError.
        self._missing = (NotFoundError, FileNotFoundError)
        self._errors = (BaseError, OSError)
        try:
            self._store: Any = obstore.store.from_url(str(address), **_options(address))
        except (BaseError, ValueError) as error:
            raise self._said("opened", error) from None

    def put(self, key: str, content: bytes | Path, *, once: bool = False) -> str:
        """Write an object, whole; return its ETag.

        Raises:
            ThereError: `once`, and somebody else's is there.
            StorageError: the store refuses, or cannot be reached.
        """
        from obstore.exceptions import AlreadyExistsError

        options: dict[str, Any] = {"mode": "create"} if once else {"chunk_size": PART_BYTES}
        try:
            made = self._obstore.put(self._store, key, content, **options)
        except AlreadyExistsError:
            return self._own_after_all(key, content)
        except self._errors as error:
            raise self._said(f"written to ({key})", error) from None
        return str(made["e_tag"] or "")

    def get(self, key: str) -> tuple[bytes, Entry] | None:
        """Return an object's content and what it is; None if it is not there."""
        parts = bytearray()
        entry = self.receive(key, parts.extend)
        return None if entry is None else (bytes(parts), entry)

    def receive(self, key: str, write: Any) -> Entry | None:
        """Call `write` with the parts of an object in order; None if it is not there."""
        try:
            answer = self._obstore.get(self._store, key)
            entry = _entry(answer.meta)
            for part in answer.stream(min_chunk_size=PART_BYTES):
                write(memoryview(part))
        except self._errors as error:
            if self._is_missing(error):
                return None
            raise self._said(f"read ({key})", error) from None
        return entry

    def head(self, key: str) -> Entry | None:
        """Return what an object is; None if it is not there."""
        try:
            return _entry(self._obstore.head(self._store, key))
        except self._errors as error:
            if self._is_missing(error):
                return None
            raise self._said(f"read ({key})", error) from None

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield all objects below a folder, or below the address."""
        try:
            for page in self._obstore.list(self._store, prefix=folder or None, chunk_size=1000):
                yield from map(_entry, page)
        except self._errors as error:
            raise self._said("listed", error) from None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for key in keys:
            try:
                self._obstore.delete(self._store, key)
            except self._errors as error:
                if not self._is_missing(error):
                    raise self._said(f"written to ({key})", error) from None

    def _own_after_all(self, key: str, content: bytes | Path) -> str:
        """Return the ETag of what is there, if it is `content`: the answer to a try was lost."""
        found = self.get(key)
        mine = content if isinstance(content, bytes) else content.read_bytes()
        if found is None or found[0] != mine:
            raise ThereError(key)
        return found[1].etag

    def _is_missing(self, error: Exception) -> bool:
        return isinstance(error, self._missing) and "NoSuchBucket" not in str(error)

    def _said(self, what: str, error: Exception) -> StorageError:
        """Return what to raise: what was wrong, what is allowed, what to do."""
        # the server's whole answer is in there, on S3 with the id of the key
        told = re.sub(r"<AWSAccessKeyId>.*?</AWSAccessKeyId>", "", str(error), flags=re.DOTALL)
        text = " ".join(redact(told).split())
        return StorageError(f"{self.address}: cannot be {what}: {_words(text, self.address)}")


def _words(text: str, address: Address) -> str:
    """Return what an error of the store means, and what to do."""
    kept = "what is done stays; run the same command again"
    if "ExpiredToken" in text or "TokenRefreshRequired" in text or "token has expired" in text:
        return f"the credentials have expired; {kept} with new ones (docs/storage.md)"
    if "NoSuchBucket" in text or "ContainerNotFound" in text or "bucket does not exist" in text:
        return f"there is no bucket {address.bucket!r}; make it, or give another one with --storage"
    if any(word in text for word in ("AccessDenied", "Forbidden", "PermissionDenied", "403")):
        return (
            "access is denied; the credentials in the environment need to list, read, write and "
            "delete there (docs/storage.md)"
        )
    if any(word in text for word in ("Unauthenticated", "InvalidAccessKeyId", "401")):
        return f"the credentials are not accepted; {_CREDENTIALS[address.scheme]}"
    if (
        "redential" in text
        or "MissingAccount" in text
        or "169.254.169.254" in text
        or "metadata" in text
    ):
        return f"no credentials were found; {_CREDENTIALS[address.scheme]}"
    if "Not Found" in text or "404" in text:
        return f"it is not there; is {address.bucket!r} the bucket's name?"
    return f"{_short(text)}; {kept}"


_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (docs/storage.md)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS (docs/storage.md)",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (docs/storage.md)",
}


def _short(text: str, longest: int = 300) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _entry(meta: Any) -> Entry:
    modified: datetime.datetime = meta["last_modified"]
    return Entry(meta["path"], int(meta["size"]), str(meta["e_tag"] or ""), modified.timestamp())


def _options(address: Address) -> dict[str, Any]:
    """Return how obstore is to talk to the store: plain HTTP on loopback alone, with an end."""
    retry_s = float(os.environ.get("CURVETUNE_BUCKET_RETRY_S", RETRY_S))
    server = endpoint(address.scheme)
    options: dict[str, Any] = {
        "client_options": {
            "timeout": datetime.timedelta(seconds=REQUEST_S),
            "connect_timeout": datetime.timedelta(seconds=CONNECT_S),
            "allow_http": _may_be_plain(server, address),
        },
        "retry_config": {
            "max_retries": MAX_RETRIES,
            "retry_timeout": datetime.timedelta(seconds=retry_s),
            "backoff": {
                "init_backoff": datetime.timedelta(seconds=0.1),
                "max_backoff": datetime.timedelta(seconds=5),
                "base": 2,
            },
        },
    }
    if address.scheme == "s3" and server is not None:
        options["config"] = {"endpoint": server}
    return options


def _may_be_plain(server: str | None, address: Address) -> bool:
    """Say whether plain HTTP is allowed.

    Raises:
        StorageError: the environment names a server by http that is on another machine.
    """
    if server is None or not server.startswith("http://"):
        return False
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    if urlsplit(server).hostname not in LOOPBACK and not allowed:
        raise StorageError(
            f"--storage {address}: {shown(server)} is plain http on another machine, where "
            f"everybody on the way reads the results; give https://, or set AWS_ALLOW_HTTP=true"
        )
    return True
