"""Where the bytes of encoded images are: files, members of tars, rows of Parquet files.

All of them pickle to little more than the names that they hold, and open nothing until they read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Encoded, Positions
from curvetune.data.tables.texts import Texts
from curvetune.data.walk import suffix_of
from curvetune.errors import DataError, printable


class InFiles(Encoded, Protocol):
    """Encoded images that know in which files they are."""

    def files(self) -> Iterator[Path]:
        """Yield every file that is read for them."""
        ...


@dataclass(frozen=True, eq=False)
class Files:
    """Image files below a folder."""

    folder: Path
    names: Texts  # relative to the folder, with /
    remedy: str = "allowed is a file for each row: copy it there, or take its row out"

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        """Return the file, relative to the folder."""
        return self.names[position]

    def suffix(self, position: int) -> str:
        """Return the extension of the file, in lower case."""
        return suffix_of(self.names[position])

    def files(self) -> Iterator[Path]:
        """Yield the files."""
        yield from (self.folder / self.names[k] for k in range(len(self)))

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return what is in some files.

        Raises:
            DataError: one is not there, or no plain file.
        """
        return [self._content(self.names[int(k)]) for k in positions]

    def _content(self, name: str) -> bytes:
        path = self.folder / name
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # no pipe hangs
                return file.read() or b""
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{printable(path)}: cannot be read ({what}); {self.remedy}") from None


@dataclass(frozen=True, eq=False)
class Members:
    """Members of tars that are not compressed, by where their bytes begin."""

    folder: Path
    tars: tuple[str, ...]  # relative to the folder
    tar: NDArray[np.int32]  # (N,), which of them
    offset: NDArray[np.int64]  # (N,), of its bytes in the tar
    size: NDArray[np.int64]  # (N,), in bytes
    names: Texts  # of the members

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        """Return the tar and the member in it."""
        return f"{self.tars[self.tar[position]]}:{self.names[position]}"

    def suffix(self, position: int) -> str:
        """Return the extension of the member's name, in lower case."""
        return suffix_of(self.names[position])

    def files(self) -> Iterator[Path]:
        """Yield the tars."""
        yield from (self.folder / tar for tar in self.tars)

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return the bytes of some members.

        Raises:
            DataError: a tar is not there, or shorter than it was.
        """
        found: list[bytes] = []
        for run in runs(self.tar[positions]):
            path = self.folder / self.tars[self.tar[positions[run.start]]]
            try:
                with path.open("rb") as file:
                    for k in positions[run]:
                        file.seek(self.offset[k])
                        found.append(file.read(self.size[k]))
                        if len(found[-1]) != self.size[k]:
                            raise DataError(
                                f"{printable(path)}: ends before {printable(self.names[int(k)])} "
                                f"does; it changed while it was read: run the command again"
                            )
            except OSError as error:
                raise DataError(
                    f"{printable(path)}: cannot be read ({error.strerror}); copy it again"
                ) from None
        return found


class Chain:
    """Rows of several kinds, one kind after the other."""

    def __init__(self, parts: Sequence[InFiles]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([0, *map(len, self.parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, position: int) -> str:
        """Return what its own part calls a row."""
        part, inner = self._place(position)
        return part.name(inner)

    def suffix(self, position: int) -> str:
        """Return the extension that its own part says."""
        part, inner = self._place(position)
        return part.suffix(inner)

    def files(self) -> Iterator[Path]:
        """Yield the files of all parts."""
        yield from (path for part in self.parts for path in part.files())

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return the bytes of some rows, asking each part for as many at a time as come together.

        Raises:
            DataError: as the part says.
        """
        which = np.searchsorted(self._ends, positions, side="right") - 1
        found: list[bytes] = []
        for run in runs(which):
            k = int(which[run.start])
            found += self.parts[k].read(positions[run] - self._ends[k])
        return found

    def _place(self, position: int) -> tuple[InFiles, int]:
        k = int(np.searchsorted(self._ends, position, side="right")) - 1
        return self.parts[k], position - int(self._ends[k])


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of others, in an order of their own."""

    of: Encoded
    positions: Positions  # (n,)

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, position: int) -> str:
        """Return what the others call the row."""
        return self.of.name(int(self.positions[position]))

    def suffix(self, position: int) -> str:
        """Return the extension that the others say."""
        return self.of.suffix(int(self.positions[position]))

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return the bytes of some rows.

        Raises:
            DataError: as the others say.
        """
        return self.of.read(self.positions[positions])


def first_file(encoded: Encoded) -> Path | None:
    """Return a file that is read for some images; None if they are in none."""
    while isinstance(encoded, Chosen):
        encoded = encoded.of
    files = getattr(encoded, "files", None)
    return None if files is None else next(files(), None)


def runs(values: NDArray[np.integer]) -> list[slice]:
    """Return the slices of equal neighbours in `values`, (n,)."""
    changes = np.flatnonzero(np.diff(values)) + 1
    return [slice(a, b) for a, b in pairwise([0, *changes.tolist(), len(values)]) if a < b]
