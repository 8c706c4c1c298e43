"""Addresses of storages in object stores: s3://bucket/prefix, gs://… and az://….

Nothing secret belongs into one: credentials come from the environment or the machine.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from curvetune.errors import StorageError
from curvetune.system.redact import shown

SCHEMES = ("s3", "gs", "az")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):/+(.*)", re.DOTALL)  # Path makes one slash of two
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PREFIX = re.compile(r"[A-Za-z0-9._=-]+(?:/[A-Za-z0-9._=-]+)*")


@dataclass(frozen=True)
class Address:
    """Where in an object store a storage is; `prefix` may be empty."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def is_address(root: Path | str) -> bool:
    """Say whether a storage is given by an address and not by a folder."""
    return ADDRESS.match(str(root)) is not None


def parse_address(root: Path | str) -> Address:
    """Return the address that a user gave, as text or as what `Path` makes of it.

    Raises:
        StorageError: it is none of those that are supported, or has a secret in it.
    """
    match = ADDRESS.fullmatch(str(root))
    scheme, rest = (match[1], match[2]) if match else ("", str(root))
    said = f"--storage {shown(f'{scheme}://{rest}')}"
    if scheme not in SCHEMES:
        raise StorageError(
            f"{said}: allowed are a folder, s3://bucket/prefix, gs://bucket/prefix and "
            f"az://container/prefix; mount anything else and give its folder"
        )
    if "@" in rest or "?" in rest or "#" in rest:
        raise StorageError(
            f"{said}: credentials do not belong into an address; give them by the environment "
            f"(docs/storage.md), and {scheme}://bucket/prefix here"
        )
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    parts = prefix.split("/")
    if not BUCKET.fullmatch(bucket) or (prefix and not PREFIX.fullmatch(prefix)):
        raise StorageError(
            f"{said}: allowed are letters, digits, '.', '_', '-' and '=' in a bucket's name and "
            f"in each part of the prefix; give {scheme}://bucket/prefix"
        )
    if {".", ".."} & set(parts):
        raise StorageError(f"{said}: '.' and '..' are no folders there; give the prefix itself")
    return Address(scheme, bucket, prefix)


def mirrors_folder() -> Path:
    """Return where this user's mirrors are: $CURVETUNE_MIRRORS, else ~/.cache/curvetune/mirrors."""
    given = os.environ.get("CURVETUNE_MIRRORS")
    return Path(given or "~/.cache/curvetune/mirrors").expanduser().absolute()


def mirror_folder(address: Address) -> Path:
    """Return the folder of an address's mirror; one for each address and endpoint."""
    told = f"{endpoint(address.scheme) or ''} {address}"
    return mirrors_folder() / hashlib.sha256(told.encode()).hexdigest()[:16]


def endpoint(scheme: str) -> str | None:
    """Return the server that the environment names for a kind of address, if it names one."""
    names = {
        "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "gs": ("GOOGLE_BASE_URL",),
        "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    }[scheme]
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
