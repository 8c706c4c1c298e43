"""The rows of a folder's labels.csv: columns file,label[,split], file relative to the folder.

The columns may be called as people call them (`NAMES`), in any case, with blanks or hyphens. Rows
of val are tested on where none is called test; else they are not read.
"""

import csv
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from curvetune.errors import DataError, printable

SPLITS = ("train", "test")
VAL = "val"
CALLED = {"training": "train", "testing": "test", "valid": VAL, "validation": VAL}
LABELS, COLUMNS = "labels.csv", ("file", "label", "split")
NAMES = {
    "file": ("file", "path", "filename", "filepath", "image", "imagepath", "imagefile"),
    "label": ("label", "class", "target", "classname"),
    "split": ("split", "set", "subset"),
}


@dataclass(frozen=True)
class LabelRow:
    """One row: what a file is labelled."""

    file: str
    label: str
    split: str  # of SPLITS, unless the file says something else

    @property
    def is_outside(self) -> bool:
        """Whether it names a file that is not in the folder."""
        return self.file.startswith("/") or ".." in self.file.split("/") or "\0" in self.file


def read_rows(path: Path) -> list[LabelRow]:
    """Return the rows of labels.csv, each file once.

    Raises:
        DataError: it cannot be read, lacks a column, or labels a file twice.
    """
    rows: dict[str, LabelRow] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, cells in _cells(path, file):
                name = _plain_path(cells[0])
                if name in rows:
                    raise _twice(path, name, f"line {line}: ")
                rows[name] = LabelRow(name, cells[1], _called(cells[2]) or _split_of(name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{printable(path)}: cannot be read ({error}); write it as CSV in UTF-8"
        ) from None
    return list(rows.values())


def on_disk(folder: Path, rows: list[LabelRow]) -> list[LabelRow]:
    """Return the rows with their files' names in the form of Unicode that the disk has.

    A table that was written on a Mac, or of files that come from one, may have another.

    Raises:
        DataError: then two rows label one file.
    """
    known: dict[str, dict[str, str]] = {}
    found = [row if row.file.isascii() else _on_disk(folder, row, known) for row in rows]
    if known:
        once: set[str] = set()
        for row in found:
            if row.file in once:
                raise _twice(folder / LABELS, row.file)
            once.add(row.file)
    return found


def _cells(path: Path, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line with its cells in the order of COLUMNS, "" where it has none.

    Not csv.DictReader, which makes a dictionary of each line: half of the time.
    """
    reader = csv.reader(file)
    columns = next((row for row in reader if row), [])
    wanted = [place(path, columns, name) for name in COLUMNS]
    for row in reader:
        if row:
            yield reader.line_num, [row[k].strip() if k < len(row) else "" for k in wanted]


def place(path: Path, columns: list[str], name: str) -> int:
    """Return which column has the files, the labels or the splits; the last one of a name.

    Raises:
        DataError: none is it, or several may be.
    """
    at = {column: k for k, column in enumerate(columns)}
    if name in at:
        return at[name]
    found = [column for column in at if plain_name(column) in NAMES[name]]
    if len(found) == 1:
        return at[found[0]]
    if not found and name == "split":
        return sys.maxsize
    there = printable(", ".join(columns)) or "none"
    reason = (
        f"{len(found)} may be the {name}: {printable(', '.join(found))}"
        if found
        else (f"none is the {name}")
    )
    raise DataError(
        f"{printable(path)}: its columns are {there}; allowed are file,label or file,label,split, "
        f"in the first line; {reason}, which may be called {', '.join(NAMES[name])}: call one so"
    )


def plain_name(column: str) -> str:
    """Return a column's name as names are compared: "File Name" is filename."""
    return re.sub(r"[\s_-]", "", column).lower()


@dataclass(frozen=True)
class Rows:
    """The rows of labels.csv by what becomes of them.

    Args:
        read: those of train and of test, and of splits that there are not.
        unread: those of val, where something else is to test on: their files are not used.
        facts: what people should know of it.
    """

    read: list[LabelRow]
    unread: list[LabelRow]
    facts: list[str]


def tested_rows(rows: list[LabelRow], *, has_test: bool) -> Rows:
    """Return which rows are to test on: those of val where nothing else is.

    Args:
        has_test: whether a folder has images to test on.
    """
    has_test = has_test or any(row.split == "test" for row in rows)
    if not has_test and all(row.split == "train" for row in rows):
        rows = [replace(row, split=_split_or_val(row.file)) for row in rows]
    val = [row for row in rows if row.split == VAL]
    if not val:
        return Rows(rows, [], [])
    if has_test:
        others = [row for row in rows if row.split != VAL]
        return Rows(others, val, [f"rows of {LABELS} of val, not read: {len(val):,}"])
    tested = [replace(row, split="test") if row.split == VAL else row for row in rows]
    fact = f"{len(val):,} rows of {LABELS} of val are tested on, since none is of test"
    return Rows(tested, [], [fact])


def _split_or_val(file: str) -> str:
    return VAL if _called(file.partition("/")[0]) == VAL else "train"


def _called(split: str) -> str:
    """Return a split by its usual name; what is none stays, and is refused as such."""
    name = split.lower()
    name = CALLED.get(name, name)
    return name if name in (*SPLITS, VAL) else split


def _plain_path(name: str) -> str:
    """Return a path as it is compared: a/./b is a/b."""
    if "./" in name or "//" in name or name.endswith(("/", ".")):
        return str(PurePosixPath(name))
    return name or "."


def _split_of(file: str) -> str:
    first = file.partition("/")[0]
    return first if first in SPLITS else "train"


def _on_disk(folder: Path, row: LabelRow, known: dict[str, dict[str, str]]) -> LabelRow:
    """Return a row with the name that its file has on the disk, or as it is if there is no such."""
    if row.is_outside or os.path.lexists(folder / row.file):
        return row
    at = ""
    for part in row.file.split("/"):
        if at not in known:
            known[at] = _forms(folder / at)
        name = known[at].get(unicodedata.normalize("NFC", part))
        if name is None:
            return row
        at = f"{at}/{name}" if at else name
    return replace(row, file=at)


def _forms(folder: Path) -> dict[str, str]:
    """Return the names in a folder by their NFC form; none that several names have."""
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder):
            names.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    except OSError:  # then the row is told that there is no such file
        return {}
    return {form: found[0] for form, found in names.items() if len(found) == 1}


def _twice(path: Path, name: str, line: str = "") -> DataError:
    return DataError(
        f"{printable(path)}: {line}{printable(name)} has a row already; allowed is one for each "
        f"file"
    )
