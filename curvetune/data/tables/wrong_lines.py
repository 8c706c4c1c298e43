"""Which line of a list is wrong, and what was expected there: asked only when it cannot be read.

Arrow reads a million rows in a second, but says at most which row of a block it stumbled on. So a
list that it refuses is read once more, line by line.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curvetune.data.tables.lines import wrong
from curvetune.errors import DataError, printable

KINDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a fraction"}
SHOWN = 40  # characters of a line


def records(path: Path, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the first and last line, from 1, of each record of a CSV file, with its cells.

    Raises:
        csv.Error: a cell has no end.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, before = csv.reader(file, delimiter=delimiter), 0
        for cells in reader:
            if cells:
                yield before + 1, reader.line_num, cells
            before = reader.line_num


def not_text(path: Path) -> DataError | None:
    """Return what is wrong with the first line that is no UTF-8."""
    with path.open("rb") as file:
        for line, content in enumerate(file, 1):
            try:
                content.decode()
            except UnicodeDecodeError as error:
                what = f"byte 0x{content[error.start]:02x} after {error.start} others is no UTF-8"
                return wrong(path, line, what, "text in UTF-8")
    return None


def wrong_record(path: Path, delimiter: str) -> DataError | None:
    """Return what is wrong with the first record of a CSV file that has not as many cells."""
    count = last = 0
    try:
        for first, last, cells in records(path, delimiter):
            count = count or len(cells)
            if len(cells) != count:
                goes_on = f", and goes on to line {last}" if last > first else ""
                allowed = f'{count}, as in the header; a text with {_named(delimiter)} is between "'
                return wrong(path, first, f"{_cells(len(cells))}{goes_on}", allowed)
    except csv.Error as error:
        return wrong(
            path, last + 1, str(error), 'cells that end; a text that begins with " ends so'
        )
    return None


def wrong_object(path: Path, columns: Sequence[str]) -> DataError | None:
    """Return what is wrong with the first line that is no object like the one before all others.

    Args:
        columns: whose values have to be of one kind.
    """
    first: dict[str, Any] | None = None
    begins = 0
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            found = _object_in(text)
            if isinstance(found, str):
                return wrong(path, line, found, "an object {…} in each line, with names once each")
            if first is None:
                first, begins = found, line
            for name in columns:
                kind, wanted = _kind(found.get(name)), _wanted(first.get(name))
                if kind is not None and kind not in wanted:
                    since = begins if first.get(name) is not None and line > begins else None
                    allowed = f"{wanted[0]}, as in line {since}" if since else "a text or a number"
                    return wrong(path, line, f"{name} is {kind}", allowed)
    return None


def _object_in(text: str) -> dict[str, Any] | str:
    """Return the object that a line is, or what else it is."""
    shown = repr(printable(text.strip(), SHOWN))
    try:
        found = json.loads(text, object_pairs_hook=_Once)
    except json.JSONDecodeError as error:
        return f"{shown} is no JSON ({error.msg})"
    if not isinstance(found, _Once):
        return f"{shown} is no object"
    return found if found.twice is None else f"{printable(found.twice)!r} is there twice"


class _Once(dict[str, Any]):
    """An object, and a name that it has twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = next((name for name in names if names.count(name) > 1), None)


def _kind(value: object) -> str | None:
    """Return what a value is; None if there is none."""
    return None if value is None else KINDS.get(type(value), "a list or an object")


def _wanted(first: object) -> tuple[str, ...]:
    """Return what the values of a column may be, by its first one: columns.py reads them so."""
    kind = KINDS.get(type(first), KINDS[str])
    return (kind, KINDS[int]) if kind == KINDS[float] else (kind,)


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _named(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else "commas"
