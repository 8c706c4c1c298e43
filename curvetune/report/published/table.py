"""`curvetune report GRID --published`: published numbers beside ours, or that there are none."""

from collections.abc import Sequence
from typing import Any

from curvetune.analysis.aggregate import method_rows
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.labels import flatten
from curvetune.report.document import Document, stamped
from curvetune.report.numbers import NOTHING, of, percent, signed, spread
from curvetune.report.published.beside import beside_notes, beside_records, beside_sheets
from curvetune.report.published.matching import Match, matches, places
from curvetune.report.published.numbers import PAPER, Library, Published, library
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import by_ma, footnotes

PAPER_EPOCHS = 200  # Jiang et al., AAAI 2022, section "Implementation Details"
THE_PAPER = (
    'the paper: Jiang et al., "Delving into Sample Loss Curve to Embrace Noisy and Imbalanced '
    'Data", AAAI 2022'
)
NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "clothing1m": "Clothing1M",
    "food101n": "Food-101N",
}
KNOWN = {"P": "", "C": " (its repository)", "M": " (from memory)"}


def published_document(grid: Grid, select: Select) -> Document:
    """Return a row for each published number that one of `grid`'s can be compared with.

    Where there is none, our numbers stand alone, and the notes say why.
    """
    found = list(matches(grid, library(), select))
    if not found:
        return _nothing(grid, select)
    header = ("method", "of", "ours", "cells", "published", "difference", "source")
    sheet = Sheet(
        title=f"{grid.title}: ours beside published accuracies (%)",
        header=tuple((text,) for text in header),
        rows=tuple(_row(match) for match in found),
        keys=2,
        words=2,
    )
    notes = (
        *rule_notes(grid, [m.table for m in found], select),
        *_missing(grid, library()),
        *beside_notes(grid, library()),
    )
    records = (*(record(match) for match in found), *beside_records(grid, library(), select))
    sheets = (sheet, *beside_sheets(grid, library(), select))
    found_document = Document("published", grid.name, sheets, records, notes)
    return stamped(found_document, grid.profiles)


def rule_notes(grid: Grid, tables: Sequence[Published], select: Select) -> list[str]:
    """Return in what ours and the published numbers were made differently."""
    notes = []
    if select != "best":
        notes.append(
            "the paper's accuracies are of one seed and its best epoch on the test set; `--select "
            "best` reads ours so too"
        )
    epochs = sorted({_epochs(cell) for cell in grid.cells} - {PAPER_EPOCHS, None}, key=str)
    if epochs:
        notes.append(
            f"ours were trained for {', '.join(map(str, epochs))} epochs, the paper's for "
            f"{PAPER_EPOCHS}: the difference is not only the method's"
        )
    kinds = {cell.setting.noise for cell in grid.cells} & {"uniform_prop", "symmetric", "uniform"}
    if kinds and any(
        table.source == PAPER and "uniform" in (table.noise or ()) for table in tables
    ):
        notes.append(
            f"the paper says uniform noise, which can mean three things; ours is "
            f"{', '.join(sorted(map(str, kinds)))} (docs/reproduction.md)"
        )
    said = dict.fromkeys(f"{table.table}: {table.note}" for table in tables if table.note)
    return [*notes, *said, THE_PAPER, *footnotes(grid, select)]


def record(match: Match) -> dict[str, Any]:
    """Return a match with its numbers in full and its source."""
    source = library().sources[match.table.source]
    return {
        "method": match.label,
        "data": match.table.data_of(match.column),
        "model": match.table.model,
        "noise": match.kind,
        "imbalance": list(match.column.imbalance),
        "noise_rate": list(match.column.noise_rate),
        "ours": match.ours.mean,
        "ours_std": match.ours.std,
        "cells_done": match.done,
        "cells": match.wanted,
        "published": match.published,
        "difference": match.difference,
        "compared": True,
        "source": source.title,
        "table": match.table.table,
        "row": match.row.name,
        "column": match.column.name,
        "known": match.table.known,
    }


def why_nothing(grid: Grid, found: Library) -> list[str]:
    """Return in plain words why no published number corresponds to one of `grid`."""
    tables = found.tables
    all_data = {table.data_of(column) for table in tables for column in table.columns}
    of_paper = dict.fromkeys(
        NAMES.get(table.data_of(column), table.data_of(column))
        for table in tables
        for column in table.columns
        if table.source == PAPER
    )
    reasons = []
    for data, model in dict.fromkeys((s.data, s.model) for s in grid.settings):
        plain = data.split(" ")[0]
        if plain not in all_data:
            reasons.append(
                f"the paper has no {plain} numbers: its data are {', '.join(of_paper)}; nor has "
                f"another publication that curvetune knows"
            )
        elif data != plain:
            whole = NAMES.get(plain, plain)
            reasons.append(f"{data} is a part of {whole}; published numbers are of all its images")
        else:
            models = {
                table.model
                for table in tables
                if table.model and any(table.data_of(c) == plain for c in table.columns)
            }
            if model not in models:
                reasons.append(
                    f"published numbers of {NAMES.get(plain, plain)} are of "
                    f"{', '.join(sorted(models)) or 'other classifiers'}, not {model}"
                )
    return reasons or [
        "no published number is of the same noise, imbalance, rate, method and options"
    ]


def _nothing(grid: Grid, select: Select) -> Document:
    rows = by_ma(method_rows(grid, select))
    sheet = Sheet(
        title=f"{grid.title}: no published number corresponds; ours alone, MA (%)",
        header=(("method",), ("ours",), ("cells",), ("published",), ("difference",)),
        rows=tuple(
            (r.label, spread(r.ma), of(r.cells_done, r.cells), NOTHING, NOTHING) for r in rows
        ),
    )
    records = tuple(
        {"method": r.label, "ours": r.ma.mean, "published": None, "difference": None} for r in rows
    )
    notes = (
        *why_nothing(grid, library()),
        *_missing(grid, library()),
        *beside_notes(grid, library()),
        THE_PAPER,
        *footnotes(grid, select),
    )
    sheets = (sheet, *beside_sheets(grid, library(), select))
    more = tuple(beside_records(grid, library(), select))
    found_document = Document("published", grid.name, sheets, (*records, *more), notes)
    return stamped(found_document, grid.profiles)


def _row(match: Match) -> tuple[str, ...]:
    what = "MA of " if len(match.column.imbalance) * len(match.column.noise_rate) > 1 else ""
    source = library().sources[match.table.source].short
    return (
        match.label,
        f"{what}{_where(match)}",
        spread(match.ours),
        of(match.done, match.wanted),
        percent(match.published),
        signed(match.difference),
        f"{source}, {match.table.table}, {match.row.name}{KNOWN[match.table.known]}",
    )


def _where(match: Match) -> str:
    data = match.table.data_of(match.column)
    data = NAMES.get(data, data)
    if match.table.table == "Table 1":
        return data
    return f"{data}, {match.column.name}" + (f" {match.kind}" if match.kind else "")


def _missing(grid: Grid, found: Library) -> list[str]:
    """Return which of the paper's means the grid has some settings of, but not all."""
    return list(
        dict.fromkeys(
            f"{table.table}, {column.name} is a mean over {place.needed} settings, of which this "
            f"grid has {len(place.settings)}: not compared"
            for table in found.tables
            for column in table.columns
            for place in places(grid, table, column)
            if not place.is_whole
        )
    )


def _epochs(cell: Cell) -> int | None:
    value = dict(flatten(cell.config)).get("allocate.epochs")
    return value if isinstance(value, int) else None
