"""Writes a zip whose bytes depend on what is in it alone, and which says if one of them changed.

Its files have one fixed time and no owner. The comment that ends it is the SHA-256 of all bytes
before, since a zip has no checksum over its own directory.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from curvetune.bundles.layout import is_array

TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say
MODE = 0o100644  # a plain file
UNIX = 3
SEAL = b"curvetune bundle; SHA-256 of all before: "
DIGITS = 64
AT_ONCE = 1 << 20
LARGE = 1 << 31  # from here on sizes need the fields of ZIP64


class Writer:
    """An open bundle."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Write to an empty `file`, which can be read too; `name` is what all paths begin with."""
        self.contents: dict[str, dict[str, object]] = {}
        self._file = file
        self._name = name
        self._zip = zipfile.ZipFile(file, "w", allowZip64=True)

    def add(self, path: str, content: bytes | Iterable[bytes], size: int = 0) -> str:
        """Write one file; return its SHA-256.

        Args:
            content: all of it, or its parts in order.
            size: of the parts together, if it may be large.

        Raises:
            OSError: it cannot be written.
        """
        info = zipfile.ZipInfo(f"{self._name}/{path}", TIME)
        info.external_attr, info.create_system = MODE << 16, UNIX
        info.compress_type = zipfile.ZIP_STORED if is_array(path) else zipfile.ZIP_DEFLATED
        digest, written = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=size >= LARGE) as target:
            for part in [content] if isinstance(content, bytes) else content:
                target.write(part)
                digest.update(part)
                written += len(part)
        self.contents[path] = {"sha256": digest.hexdigest(), "bytes": written}
        return digest.hexdigest()

    def close(self) -> str:
        """Write the directory and the seal; return the SHA-256 of the whole file.

        Raises:
            OSError: it cannot be written.
        """
        self._zip.comment = SEAL + b"0" * DIGITS
        self._zip.close()
        end = self._file.seek(0, 2) - DIGITS
        whole = hashlib.sha256()
        for part in parts_of(self._file, end):
            whole.update(part)
        seal = whole.hexdigest().encode()
        self._file.seek(end)
        self._file.write(seal)
        whole.update(seal)
        return whole.hexdigest()


def parts_of(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Yield a file from its beginning up to byte `end`."""
    file.seek(0)
    while (left := end - file.tell()) > 0 and (part := file.read(min(AT_ONCE, left))):
        yield part
