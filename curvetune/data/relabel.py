"""A list of corrected labels: a CSV file in UTF-8 with the columns sample,label.

A sample is its index among the training images, as `curvetune suspects` lists it, or the file of an
image of a folder. A label is a class by the rules of labels.py. A row without a label says nothing,
so that a list of suspects can be filled in where one is sure. Other columns are not read.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curvetune.data.labels import Classes, number, positions
from curvetune.errors import DataError, nearest, printable

COLUMNS = ("sample", "label")
COMPARED = 20_000  # files that a wrong name is compared with; of more it takes seconds
HOW = "`curvetune suspects CELL --format labels --out FILE` writes such a file"


@dataclass(frozen=True)
class Corrections:
    """The class of some training samples, by their index, in the order of the index."""

    labels: dict[int, int]
    empty: int  # rows without a label


@dataclass(frozen=True)
class Samples:
    """What a list of labels can be about.

    Args:
        size: number of training images.
        classes: names, (K,).
        files: of the training images of a folder, (size,).
    """

    size: int
    classes: Sequence[str]
    files: Sequence[str] | None = None


@dataclass(frozen=True)
class _Row:
    line: int
    sample: str
    label: str


def read_corrections(path: Path, samples: Samples) -> Corrections:
    """Return the corrected labels of a file.

    Raises:
        DataError: it cannot be read, or a row names no sample, no class, or a sample again.
    """
    rows = _rows(path)
    index = _Index(path, samples)
    found: dict[int, _Row] = {}
    for row in rows:
        k = index.of(row)
        if k in found:
            raise DataError(
                f"{printable(path)}: lines {found[k].line} and {row.line} are both of sample {k} "
                f"({_said(found[k])} and {_said(row)}); allowed is one row for each sample: remove "
                f"one of them"
            )
        found[k] = row
    labelled = {k: row for k, row in found.items() if row.label}
    if not labelled:
        what = "no row has a label" if rows else "it has no row below its header"
        raise DataError(
            f"{printable(path)}: {what}; allowed is a row for each corrected sample: "
            f"write some; {HOW}"
        )
    known = _Labels(path, samples.classes, [row.label for row in labelled.values()])
    labels = {k: known.of(labelled[k]) for k in sorted(labelled)}
    return Corrections(labels, len(rows) - len(labelled))


class _Index:
    """Finds the index of a sample."""

    def __init__(self, path: Path, samples: Samples) -> None:
        self._path, self._samples = path, samples
        self._files = {file: k for k, file in enumerate(samples.files or ())}

    def of(self, row: _Row) -> int:
        """Return the index that a row names: a file, else a number."""
        found = self._files.get(row.sample)
        if found is not None:
            return found
        plain = number(row.sample)
        size = self._samples.size
        short = plain is not None and plain.isdecimal() and len(plain) <= len(str(size))
        if plain is not None and short and int(plain) < size:
            return int(plain)
        alike = nearest(row.sample, self._files) if len(self._files) <= COMPARED else ""
        file = f", or a file such as {printable(next(iter(self._files)))}" if self._files else ""
        raise DataError(
            f"{printable(self._path)}: line {row.line}: sample {printable(row.sample)!r} does not "
            f"exist{alike}; allowed are 0 to {size - 1}{file}, as "
            f"`curvetune suspects` lists them; correct or remove the row"
        )


class _Labels:
    """Finds the class of a label."""

    def __init__(self, path: Path, classes: Sequence[str], labels: Sequence[str]) -> None:
        self._path, self._classes = path, Classes(classes)
        self._counted = positions(self._classes, labels, printable(path))

    def of(self, row: _Row) -> int:
        """Return the class that a row gives, from 0."""
        found = self._counted.get(row.label, self._classes.find(row.label))
        if found is None:
            names = () if self._classes.have_numbers else self._classes.names
            raise DataError(
                f"{printable(self._path)}: line {row.line}: label {printable(row.label)!r}"
                f"{nearest(row.label, names)}{self._classes.why_not(row.label)}; "
                f"write one of these, or none to leave the sample as it is"
            )
        return found


def _rows(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_cells(path, file))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(
            f"{printable(path)}: cannot be read ({printable(error)}); allowed is CSV in UTF-8 with "
            f"the columns sample,label; {HOW}"
        ) from None


def _cells(path: Path, file: Iterator[str]) -> Iterator[_Row]:
    """Yield the rows, and refuse a file without the two columns."""
    reader = csv.reader(file)
    columns = [name.strip() for name in next((row for row in reader if row), [])]
    if any(columns.count(name) != 1 for name in COLUMNS):
        there = f"its columns are {printable(', '.join(columns))}" if columns else "it is empty"
        raise DataError(
            f"{printable(path)}: {there}; allowed are sample,label once each, and others beside "
            f"them, in line 1 with commas between; {HOW}"
        )
    places = [columns.index(name) for name in COLUMNS]
    for cells in reader:
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise DataError(
                f"{printable(path)}: line {reader.line_num} has {len(cells)} cells, and line 1 "
                f"{len(columns)}; allowed is at most as many: correct the row, and put a text "
                f'with commas between "'
            )
        if any(cell.strip() for cell in cells):
            sample, label = (cells[k].strip() if k < len(cells) else "" for k in places)
            yield _Row(reader.line_num, sample, label)


def _said(row: _Row) -> str:
    return f"label {printable(row.label)!r}" if row.label else "no label"
