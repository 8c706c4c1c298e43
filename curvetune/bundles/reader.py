"""Reads a bundle that may be anybody's: cut off, changed, or made to harm.

Nothing is extracted to where the file says. Arrays are stored and not deflated, so that no array is
larger than the file itself; texts have limits, each and together. What is wrong with one file costs
that file.
"""

import contextlib
import hashlib
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from curvetune.bundles.layout import (
    ABOUT,
    SCHEMA_VERSION,
    contents_of,
    is_array,
    is_member,
    stored,
)
from curvetune.bundles.writer import AT_ONCE, DIGITS, SEAL, parts_of
from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, CorruptError, printable
from curvetune.store.names import CELLS, PROBES
from curvetune.store.plain import MAX_JSON_BYTES

MOST_RATIO = 300  # texts to the bytes of the whole file; the cells of one grid are much alike
FEW_BYTES = 10_000_000  # below that nothing is large, whatever its ratio
HEADER_BYTES = 30  # of a file inside, at least
ENCRYPTED = 0x1
CELL_TEXT_BYTES = 100_000_000  # of one file of a cell or a probe: a confusion matrix has millions
# What zipfile raises of a file that is no zip, or a changed one.
FAULTS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, OSError, EOFError),
    *(ValueError, LookupError, RuntimeError, OverflowError, TypeError),
)


class Reader:
    """An open bundle; `files` are those that can be read, `refused` the others and why."""

    def __init__(self, path: Path) -> None:
        """Open the bundle at `path`.

        Raises:
            ConfigError: there is no such file.
            CorruptError: it is no bundle, or not all of one.
        """
        self.path = path
        self.refused: dict[str, str] = {}
        self.files: dict[str, zipfile.ZipInfo] = {}
        shown = printable(path)
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConfigError(
                f"{shown}: cannot be read ({error.strerror}); give a file that `curvetune bundle` "
                f"made"
            ) from None
        try:
            self.size = self._file.seek(0, 2)
            self._zip = zipfile.ZipFile(self._file)
            self.name = self._sort(self._zip.infolist())
        except FAULTS as error:
            self._file.close()
            raise CorruptError(
                f"{shown}: not a bundle, or not all of one ({self.size_text}; {said(error)}); copy "
                f"it again"
            ) from None

    @property
    def size_text(self) -> str:
        """Its size in words."""
        return f"{getattr(self, 'size', 0):,} bytes"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*FAULTS):
            self._zip.close()
        self._file.close()

    def about(self) -> dict[str, Any]:
        """Return bundle.json.

        Raises:
            CorruptError: it is missing or damaged.
            ConfigError: another version of curvetune wrote it.
        """
        try:
            about = json.loads(self.read(ABOUT, MAX_JSON_BYTES))
            version = about["schema_version"]
            if version == SCHEMA_VERSION:
                contents_of(about)
        except (CorruptError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise CorruptError(
                f"{printable(self.path)}: {ABOUT}: not that of a bundle ({said(error)}); copy the "
                f"bundle again"
            ) from None
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"{printable(self.path)}: a bundle of version {printable(version)}; allowed is "
                f"{SCHEMA_VERSION}: read it with the curvetune that made it"
            )
        found: dict[str, Any] = about
        return found

    def parts(self, path: str) -> Iterator[bytes]:
        """Yield the content of one file in parts.

        Raises:
            CorruptError: it is missing or damaged.
        """
        if path not in self.files:
            raise CorruptError(f"{path}: {self.refused.get(path, 'it is missing')}")
        try:
            with self._zip.open(self.files[path]) as file:
                while part := file.read(AT_ONCE):
                    yield part
        except FAULTS as error:
            raise CorruptError(f"{path}: it is damaged ({said(error)})") from None

    def read(self, path: str, longest: int) -> bytes:
        """Return the content of one file.

        Raises:
            CorruptError: it is missing or damaged, or longer than `longest` bytes.
        """
        content = bytearray()
        for part in self.parts(path):
            content += part
            if len(content) > longest:
                raise CorruptError(f"{path}: more than {longest:,} bytes")
        return bytes(content)

    def digests(self) -> tuple[str, bool]:
        """Return the SHA-256 of the whole file, and whether its seal is right."""
        whole = hashlib.sha256()
        for part in parts_of(self._file, self.size - DIGITS):
            whole.update(part)
        wanted = SEAL + whole.hexdigest().encode()
        whole.update(self._file.read(DIGITS))
        return whole.hexdigest(), self._zip.comment == wanted

    def _sort(self, infos: list[zipfile.ZipInfo]) -> str:
        """Tell files that can be read from others; return what all of them begin with."""
        if not infos:
            raise ValueError("it is empty")
        name = infos[0].filename.partition("/")[0]
        texts = 0
        for info, after in zip(infos, [*infos[1:], None], strict=True):
            path = info.filename.removeprefix(f"{name}/")
            problem = _problem(info, after, name)
            texts += 0 if problem or is_array(path) else info.file_size
            if path in self.files or path in self.refused:
                problem = "it is there twice"
                self.files.pop(path, None)
            if problem:
                self.refused[path] = problem
            else:
                self.files[path] = info
        if texts > max(FEW_BYTES, MOST_RATIO * self.size):
            raise ValueError(f"its texts are to be {texts:,} bytes, more than such a file can hold")
        return name if GRID_NAME.fullmatch(name) else "?"


def _problem(info: zipfile.ZipInfo, after: zipfile.ZipInfo | None, name: str) -> str:
    """Return why a file is not read; nothing if it may be."""
    path = info.filename.removeprefix(f"{name}/")
    mode = info.external_attr >> 16
    end = info.header_offset + HEADER_BYTES + info.compress_size
    if info.filename == path or not is_member(path):
        return "a bundle has no such file"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is no plain file"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is packed in a way that bundles are not"
    if is_array(path) and (
        info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size
    ):
        return "arrays are not deflated in a bundle"
    longest = (
        CELL_TEXT_BYTES if path.startswith((stored(CELLS), stored(PROBES))) else MAX_JSON_BYTES
    )
    if info.file_size > longest and not is_array(path):
        return f"{info.file_size:,} bytes of text; allowed are {longest:,}"
    if after is not None and after.header_offset < end:
        return "it overlaps with another file"
    return ""


def said(error: BaseException) -> str:
    """Return an error in a few words."""
    return printable(str(error) or type(error).__name__)
