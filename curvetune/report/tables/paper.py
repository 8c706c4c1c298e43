"""`curvetune report GRID --paper N`: a grid laid out exactly as a table of the paper.

The rows, columns and numbers of the paper's tables are in report/published/published.yaml.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvetune.analysis.statistics import Mean
from curvetune.errors import ConfigError, CorruptError, StorageError, printable
from curvetune.grids.cells import Grid, Select
from curvetune.report.document import Document, stamped
from curvetune.report.numbers import NOTHING, of, percent, spread
from curvetune.report.published.matching import labels_of, ours, places
from curvetune.report.published.numbers import Column, Published, PublishedRow, library
from curvetune.report.published.table import rule_notes, why_nothing
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import best_rows
from curvetune.report.tables.step_times import read_step_times

UNKNOWN = Mean(None, None)


@dataclass(frozen=True)
class Entry:
    """One number of the table, ours and the paper's; a hole where ours is not there."""

    row: PublishedRow
    column: Column
    published: float | None
    ours: Mean = UNKNOWN
    done: int = 0
    wanted: int = 0
    label: str | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.ours.mean is None or self.published is None:
            return None
        return self.ours.mean - self.published

    @property
    def text(self) -> str:
        """Ours as printed; with (n/N) where cells are missing."""
        gap = f" ({of(self.done, self.wanted)})" if 0 < self.done < self.wanted else ""
        return NOTHING if self.ours.mean is None else spread(self.ours) + gap


def paper_document(
    storage: Path | str, grid: Grid, number: str, select: Select, *, published: bool = True
) -> Document:
    """Return `grid` in the rows and columns of the paper's table `number`.

    Args:
        published: put the paper's numbers beside ours.

    Raises:
        ConfigError: the paper has no such table, or it is of data that no grid has.
    """
    table = _table(number)
    notes: list[str] = []
    times = _times(Path(storage), grid, table, notes)
    entries = [
        [_entry(grid, table, row, k, select, times, notes) for k in range(len(table.columns))]
        for row in table.rows
    ]
    if all(entry.ours.mean is None for line in entries for entry in line):
        notes += [f"nothing of this grid is in the paper's {table.table}"]
        notes += why_nothing(grid, library())
    layout = _transposed if table.transposed else _upright
    sheet = layout(f"{grid.title} as the paper's {table.table}", table, entries, published)
    records = tuple(
        _record(table, entry, published=published) for line in entries for entry in line
    )
    known = tuple(dict.fromkeys([*notes, *rule_notes(grid, [table], select)]))
    found = Document(f"paper {number}", grid.name, (sheet,), records, known)
    return stamped(found, grid.profiles)


def _table(number: str) -> Published:
    tables = library().paper()
    if number not in tables:
        real = " (4 and 5 are of Clothing1M and Food-101N, with one number per method)"
        raise ConfigError(
            f"--paper {printable(number)!r}: allowed are {', '.join(tables)}"
            f"{real if number in ('4', '5') else ''}"
        )
    return tables[number]


def _entry(
    grid: Grid,
    table: Published,
    row: PublishedRow,
    k: int,
    select: Select,
    times: Callable[[PublishedRow], float | None],
    notes: list[str],
) -> Entry:
    column, value = table.columns[k], row.values[k]
    if table.quantity_of(column) == "ms":
        return Entry(row, column, value, Mean(times(row), None))
    found, labels = places(grid, table, column), labels_of(grid, row)
    whole = [place for place in found if place.is_whole]
    if found and not whole:
        notes.append(
            f"{column.name} is a mean over {found[0].needed} settings, of which this grid has "
            f"{len(found[0].settings)}"
        )
    if not whole or not labels:
        return Entry(row, column, value)
    if len(whole) > 1:
        notes.append(f"of the grid's kinds of noise, {whole[0].kind} is shown")
    if len(labels) > 1:
        notes.append(f"of {', '.join(labels)}, the first is shown as {row.name}")
    mean, done, wanted = ours(grid, labels[0], whole[0], select)
    if mean.mean is None and wanted:
        notes.append(f"{row.name}, {column.name}: {done} of {wanted} cells are done, so no mean")
    return Entry(row, column, value, mean, done, wanted, labels[0])


def _upright(
    title: str, table: Published, entries: Sequence[Sequence[Entry]], published: bool
) -> Sheet:
    """Lay out methods as rows."""
    header: list[tuple[str, ...]] = [("method",)]
    for column in table.columns:
        lines = tuple(column.name.split(", "))
        header += [(*lines, "ours"), (*lines, "paper")] if published else [lines]
    rows = [
        (line[0].row.name, *(text for entry in line for text in _texts(entry, published)))
        for line in entries
    ]
    step = 2 if published else 1
    best = frozenset(
        (k, 1 + step * c)
        for c in range(len(table.columns))
        for k in best_rows([line[c].ours.mean for line in entries])
    )
    return Sheet(title, tuple(header), tuple(rows), best)


def _transposed(
    title: str, table: Published, entries: Sequence[Sequence[Entry]], published: bool
) -> Sheet:
    """Lay out methods as columns, as the paper prints its ablations."""
    rows: list[tuple[str, ...]] = []
    best: set[tuple[int, int]] = set()
    for c, column in enumerate(table.columns):
        line = [of_row[c] for of_row in entries]
        if table.quantity_of(column) != "ms":
            best |= {(len(rows), 1 + k) for k in best_rows([entry.ours.mean for entry in line])}
        rows.append((column.name, *(entry.text for entry in line)))
        if published:
            rows.append((f"{column.name}, paper", *(percent(entry.published) for entry in line)))
    header = (("",), *((row.name,) for row in table.rows))
    return Sheet(title, header, tuple(rows), frozenset(best))


def _texts(entry: Entry, published: bool) -> list[str]:
    return [entry.text, percent(entry.published)] if published else [entry.text]


def _record(table: Published, entry: Entry, *, published: bool) -> dict[str, Any]:
    found = {
        "row": entry.row.name,
        "column": entry.column.name,
        "quantity": table.quantity_of(entry.column),
        "method": entry.label,
        "ours": entry.ours.mean,
        "ours_std": entry.ours.std,
        "cells_done": entry.done,
        "cells": entry.wanted,
    }
    if published:
        found["published"] = entry.published
        found["difference"] = entry.difference
    return found


def _times(
    storage: Path, grid: Grid, table: Published, notes: list[str]
) -> Callable[[PublishedRow], float | None]:
    """Return how to find the milliseconds of a row's meta step; damaged ones leave a note."""
    timed = [column for column in table.columns if table.quantity_of(column) == "ms"]
    # times of other data or another classifier do not belong in this table
    if not any(places(grid, table, column) for column in timed):
        return lambda row: None
    try:
        found = read_step_times(storage, grid.name) or {}
        steps = [(dict(s["method"]), float(s["meta_ms"][1])) for s in found.get("steps", [])]
        for method, _ in steps:
            method["name"]
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        CorruptError,
        StorageError,
    ) as error:
        notes.append(f"times of a step: not read ({printable(error)})")
        return lambda row: None
    if steps:
        notes.append(
            f"our milliseconds are of a meta step on {printable(found.get('device', '?'))}"
        )
    return lambda row: next((ms for method, ms in steps if row.is_of(method)), None)
