"""Rows as they are gathered, and the table that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Encoded
from curvetune.data.tables.encoded import Files
from curvetune.data.tables.table import UNKNOWN, Table
from curvetune.data.tables.texts import Texts
from curvetune.errors import DataError, printable

NAMED = 5

Whole = TypeVar("Whole", np.int8, np.int64)


@dataclass
class Rows:
    """Some files with their labels; true labels and verifications where something is known."""

    files: list[str] = field(default_factory=list)
    y: list[int] = field(default_factory=list)
    y_true: dict[int, int] = field(default_factory=dict)  # by position
    verified: dict[int, int] = field(default_factory=dict)

    def add(self, file: str, label: int) -> None:
        """Add a row."""
        self.files.append(file)
        self.y.append(label)

    def __len__(self) -> int:
        return len(self.files)


def table_of_files(
    folder: Path, class_names: Sequence[str], train: Rows, test: Rows, clean: Rows | None = None
) -> Table:
    """Return the table of files below a folder; a clean set comes behind the rows to train on."""
    clean = clean or Rows()
    files = Texts(train.files + clean.files + test.files)
    y = np.array(train.y + clean.y + test.y, np.int64)
    n = len(train) + len(clean)
    knows = bool(train.y_true or clean.files)
    y_true = known(n, train.y_true, np.int64) if knows else None
    if y_true is not None:
        y_true[len(train) :] = clean.y
    verified = known(n, train.verified, np.int8) if train.verified else None
    if verified is not None:
        verified[len(train) :] = 1
    return Table(
        encoded=Files(folder, files),
        train=n,
        y=y,
        class_names=tuple(class_names),
        y_true=y_true,
        verified=verified,
        clean=np.arange(len(train), n, dtype=np.int64) if len(clean) else None,
    )


def known(n: int, values: dict[int, int], kind: type[Whole]) -> NDArray[Whole]:
    """Return values by position, (n,), UNKNOWN where there is none."""
    found = np.full(n, UNKNOWN, kind)
    if values:
        found[list(values)] = list(values.values())
    return found


def folder_with(data_dir: Path, mark: str, below: Sequence[str] = ()) -> Path | None:
    """Return the first folder that has the file `mark`: `data_dir` itself, or one of `below` it."""
    places = [data_dir, *(data_dir / name for name in below)]
    return next((place for place in places if (place / mark).exists()), None)


def not_there(name: str, data_dir: Path, wanted: str) -> DataError:
    """Return the error of a folder that is no such data set."""
    return DataError(f"--data-dir {printable(data_dir)}: no {name} there; allowed is {wanted}")


def checked(table: Table, data_dir: Path) -> Table:
    """Return a table that has images to train on and to test on, of two classes at least.

    Raises:
        DataError: it has not, or has more images of no class.
    """
    n, names = table.train, table.class_names
    place = f"--data-dir {printable(data_dir)}"
    if len(names) < 2:
        raise DataError(f"{place}: {len(names)} classes; allowed are 2 or more: add images")
    for split, y in (("train on", table.y[:n]), ("test on", table.y[n:])):
        sizes = np.bincount(y, minlength=len(names))
        empty = [printable(names[k], 40) for k in np.flatnonzero(sizes == 0)]
        if empty:
            raise DataError(
                f"{place}: no image to {split} of {len(empty)} of {len(names)} classes "
                f"({', '.join(empty[:NAMED])}{', …' if len(empty) > NAMED else ''}); allowed is at "
                f"least one of each: add some, or take the class out of both"
            )
    return table


def encoded_table(
    encoded: Encoded, train: int, y: Sequence[int] | NDArray[np.int64], names: Sequence[str]
) -> Table:
    """Return a table of which nothing is known but given labels."""
    return Table(encoded, train, np.asarray(y, np.int64), tuple(names))
