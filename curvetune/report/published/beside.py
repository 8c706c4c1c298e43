"""Published numbers on the same labels, of another classifier: told beside ours, never compared.

A reader wants to know how far off they are, and why no difference stands there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curvetune.grids.cells import Grid, Select
from curvetune.grids.labels import Setting
from curvetune.report.numbers import NOTHING, percent, spread
from curvetune.report.published.matching import Place, elsewhere, labels_of, ours, places
from curvetune.report.published.numbers import Library, Published, PublishedRow
from curvetune.report.sheet import Sheet

WHY = "of another classifier, so not compared"


@dataclass(frozen=True)
class Anchor:
    """A published accuracy of one setting, for a figure.

    Args:
        is_same: whether it is of the same classifier, so that it can be compared.
    """

    label: str
    setting: Setting
    value: float
    is_same: bool


def anchors(grid: Grid, found: Library) -> list[Anchor]:
    """Return the published accuracies of single settings that `grid` has, of its own methods."""
    return [
        Anchor(label, setting, value, is_same)
        for table, k, setting, is_same in _single_settings(grid, found)
        for row in table.rows
        if (value := row.values[k]) is not None
        for label in labels_of(grid, row)
    ]


def _single_settings(grid: Grid, found: Library) -> Iterator[tuple[Published, int, Setting, bool]]:
    for table in found.tables:
        for k, column in enumerate(table.columns):
            if table.quantity_of(column) != "accuracy":
                continue
            for place in places(grid, table, column):
                if place.needed == len(place.settings) == 1:
                    yield table, k, place.settings[0], True
    for table, k, settings in elsewhere(grid, found):
        yield from ((table, k, setting, False) for setting in settings)


@dataclass(frozen=True)
class _Column:
    """A published column that a grid has the labels of."""

    k: int  # of its table
    place: Place
    models: tuple[str, ...]


def beside_sheets(grid: Grid, found: Library, select: Select) -> list[Sheet]:
    """Return a table for each published one on people's labels that `grid` has, ours in it."""
    return [_sheet(grid, found, t, columns, select) for t, columns in _tables(grid, found)]


def beside_notes(grid: Grid, found: Library) -> list[str]:
    """Return how the numbers of such tables were made."""
    return [
        f"{found.sources[table.source].short}, {table.table}: {WHY}: {table.note}"
        for table, _ in _tables(grid, found)
    ]


def beside_records(grid: Grid, found: Library, select: Select) -> list[dict[str, Any]]:
    """Return a row for each number of such tables; `compared` is false in all of them."""
    return [
        _record(grid, found, table, row, column, select)
        for table, columns in _tables(grid, found)
        for row in table.rows
        for column in columns
    ]


def _tables(grid: Grid, found: Library) -> Iterator[tuple[Published, list[_Column]]]:
    columns: dict[int, list[_Column]] = {}
    tables: dict[int, Published] = {}
    for table, k, settings in elsewhere(grid, found):
        tables[id(table)] = table
        models = tuple(dict.fromkeys(setting.model for setting in settings))
        columns.setdefault(id(table), []).append(_Column(k, _place(settings), models))
    for key, table in tables.items():
        yield table, columns[key]


def _place(settings: list[Setting]) -> Place:
    return Place(settings[0].noise, tuple(settings), len(settings))


def _sheet(
    grid: Grid, found: Library, table: Published, columns: list[_Column], select: Select
) -> Sheet:
    source = found.sources[table.source].short
    header: list[tuple[str, ...]] = [("method",)]
    for column in columns:
        name = table.columns[column.k].name
        header += [(name, "theirs"), (name, f"ours, {', '.join(column.models)}")]
    rows = tuple(
        (
            row.name,
            *(
                text
                for column in columns
                for text in (_printed(row, column.k), _ours(grid, row, column, select))
            ),
        )
        for row in table.rows
    )
    title = f"{grid.title}: {source}, {table.table} (%); {WHY}"
    return Sheet(title, tuple(header), rows)


def _ours(grid: Grid, row: PublishedRow, column: _Column, select: Select) -> str:
    labels = labels_of(grid, row)
    return spread(ours(grid, labels[0], column.place, select)[0]) if labels else NOTHING


def _printed(row: PublishedRow, k: int) -> str:
    """Return a published number as it stands there."""
    std = row.std[k] if row.std else None
    return percent(row.values[k]) + ("" if std is None else f" ± {std:.2f}")


def _record(
    grid: Grid,
    found: Library,
    table: Published,
    row: PublishedRow,
    column: _Column,
    select: Select,
) -> dict[str, Any]:
    published, labels = table.columns[column.k], labels_of(grid, row)
    mean, done, wanted = (
        ours(grid, labels[0], column.place, select) if labels else (None, None, None)
    )
    return {
        "method": labels[0] if labels else row.name,
        "data": table.data_of(published),
        "model": table.model,
        "noise": column.place.kind,
        "imbalance": list(published.imbalance),
        "noise_rate": list(published.noise_rate),
        "ours": None if mean is None else mean.mean,
        "ours_std": None if mean is None else mean.std,
        "cells_done": done,
        "cells": wanted,
        "published": row.values[column.k],
        "published_std": row.std[column.k] if row.std else None,
        "difference": None,
        "compared": False,
        "source": found.sources[table.source].title,
        "table": table.table,
        "row": row.name,
        "column": published.name,
        "known": table.known,
    }
