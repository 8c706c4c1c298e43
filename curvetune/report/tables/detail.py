"""The tables of `curvetune report --table`: MA, cells and seeds; others have a file each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curvetune.analysis import shots
from curvetune.analysis.aggregate import MethodRow, SettingMean, cell_json, method_rows, scores
from curvetune.analysis.significance import Unit
from curvetune.analysis.weight_auroc import SampleFacts, notes_of, read_samples
from curvetune.errors import ConfigError, nearest, printable
from curvetune.grids.cells import ACCURACY, Cell, Grid, Select
from curvetune.grids.labels import GIVEN, Setting, setting_parts
from curvetune.report.document import Document, stamped
from curvetune.report.numbers import between, of, percent, spread
from curvetune.report.sheet import Sheet
from curvetune.report.tables.classes import classes_document
from curvetune.report.tables.main import (
    best_rows,
    by_ma,
    footnotes,
    marked,
    selected,
    settings_sheet,
)
from curvetune.report.tables.paired import significance_document
from curvetune.report.verdict import verdict, verdict_lines

AUROC_NOTE = (
    "AUROC: chance that a right label has a larger final weight than a wrong one; 0.5 is no "
    "knowledge, – a method without weights, or no wrong labels that are known"
)


def table(
    storage: Path | str,
    grid: Grid,
    name: str,
    select: Select,
    reference: str | None = None,
    unit: Unit = "pair",
) -> Document:
    """Return the table `name` of a grid.

    Args:
        reference: of the table of significance, with which method others are compared.
        unit: of that table, what counts as one experiment.

    Raises:
        ConfigError: there is no such table, or the grid has no method `reference`.
    """
    name = name.lower()  # it was called MA once
    if name not in TABLES:
        raise ConfigError(
            f"--table {printable(name)!r}: allowed are {', '.join(TABLES)}{nearest(name, TABLES)}"
        )
    if name == "cells":
        found = cells_document(grid, select, read_samples(storage, grid))
    elif name == "significance":
        found = significance_document(grid, select, reference, unit)
    else:
        found = TABLES[name](grid, select)
    return stamped(found, grid.profiles)


def ma_document(grid: Grid, select: Select) -> Document:
    """Return the MA of each method with its interval over seeds, and each setting's mean."""
    rows = by_ma(method_rows(grid, select))
    sheet = Sheet(
        title=f"{grid.title}: mean accuracy (MA, %) over {len(grid.settings)} bias settings",
        header=(("method",), ("MA",), ("95 % interval",), ("seeds",), ("cells done",)),
        rows=tuple(
            (
                r.label,
                marked(spread(r.ma), r.at_chance),
                between(r.ma.interval),
                str(r.ma.n),
                of(r.cells_done, r.cells),
            )
            for r in rows
        ),
        best=frozenset((k, 1) for k in best_rows([row.ma.mean for row in rows])),
        below=tuple(verdict_lines(grid, select)),
    )
    alike = verdict(grid, select).like_the_best()
    bold = "bold: the best MA, and those not told apart from it" if alike else "no bold"
    paper = replace(
        sheet,
        best=frozenset((k, 1) for k, row in enumerate(rows) if row.label in alike),
        below=(
            selected(select, grid),
            _interval_note("seeds that have all settings"),
            bold,
            *sheet.below,
        ),
    )
    notes = (*footnotes(grid, select), _interval_note("seeds that have all settings"))
    records = tuple(_ma_record(row) for row in rows)
    sheets = (sheet, settings_sheet(grid, select))
    return Document("MA", grid.name, sheets, records, notes, print_sheets=(paper,))


def seeds_document(grid: Grid, select: Select) -> Document:
    """Return each method in each setting: the accuracy of each seed, and their mean."""
    seeds = list(dict.fromkeys(cell.seed for cell in grid.cells))
    found = [
        (row, column, {seed: values.get((column.setting, seed)) for seed in seeds})
        for row in by_ma(method_rows(grid, select))
        for values in [scores(grid.methods()[row.label], select)]
        for column in row.settings
        if column.seeds
    ]
    header = ("method", "setting", *(f"seed {s}" for s in seeds), "mean", "95 % interval", "done")
    rows = [
        (
            row.label,
            _setting(column.setting, grid),
            *(percent(by_seed[seed]) for seed in seeds),
            marked(spread(column.accuracy), column.at_chance),
            between(column.accuracy.interval),
            of(column.seeds_done, column.seeds),
        )
        for row, column, by_seed in found
    ]
    titles = tuple((title,) for title in header)
    sheet = Sheet(f"{grid.title}: accuracy (%) of each seed", titles, tuple(rows), keys=2, words=2)
    records = tuple(_seed_record(*one) for one in found)
    notes = (*footnotes(grid, select), _interval_note("seeds"))
    return Document("seeds", grid.name, (sheet,), records, notes)


def cells_document(grid: Grid, select: Select, samples: Sequence[SampleFacts]) -> Document:
    """Return a row per cell: its accuracies, those of its class groups, and its weights' AUROC."""
    rule = shots.rule_of([one.counts for one in samples if one.counts])
    records = [_cell_record(c, s, rule) for c, s in zip(grid.cells, samples, strict=True)]
    header = ("method", "setting", "seed", "state", "last", f"last {grid.last_epochs}", "best")
    rows = [
        (
            cell.label,
            _setting(cell.setting, grid),
            str(cell.seed),
            cell.state,
            *(percent(record[key]) for key in (*ACCURACY.values(), *_SHOT_KEYS)),
            percent(record["weight_auroc"]),
            "–" if cell.seconds is None else f"{cell.seconds:.0f}",
            cell.cell_id,
        )
        for cell, record in zip(grid.cells, records, strict=True)
    ]
    names = (*header, *shots.GROUPS, "AUROC", "seconds", "cell")
    titles = tuple((name,) for name in names)
    sheet = Sheet(f"{grid.title}: its cells (%)", titles, tuple(rows), keys=3, words=2)
    notes = (shots.SAID[rule], AUROC_NOTE, *notes_of(samples), *footnotes(grid, select)[1:])
    return Document("cells", grid.name, (sheet,), tuple(records), notes)


TABLES: dict[str, Callable[..., Document]] = {
    "ma": ma_document,
    "cells": cells_document,
    "seeds": seeds_document,
    "classes": classes_document,
    "significance": significance_document,
}
_SHOT_KEYS = tuple(f"{group}_shot" for group in shots.GROUPS)


def _setting(setting: Setting, grid: Grid) -> str:
    return ", ".join(setting_parts(setting, grid.settings))


def _interval_note(over: str) -> str:
    return f"95 % interval: Student's t over {over}, of three or more"


def _ma_record(row: MethodRow) -> dict[str, Any]:
    low, high = row.ma.interval or (None, None)
    return {
        "method": row.label,
        "ma": row.ma.mean,
        "ma_std": row.ma.std,
        "low": low,
        "high": high,
        "seeds": row.ma.n,
        "cells_done": row.cells_done,
        "cells": row.cells,
    }


def _seed_record(
    row: MethodRow, column: SettingMean, by_seed: dict[int, float | None]
) -> dict[str, Any]:
    low, high = column.accuracy.interval or (None, None)
    setting = column.setting
    return {
        "method": row.label,
        "data": setting.data,
        "model": setting.model,
        "imbalance": setting.imbalance,
        "noise": setting.noise,
        "noise_rate": None if setting.noise in GIVEN else setting.noise_rate,
        **{f"seed_{seed}": value for seed, value in by_seed.items()},
        "mean": column.accuracy.mean,
        "std": column.accuracy.std,
        "low": low,
        "high": high,
        "seeds_done": column.seeds_done,
        "seeds": column.seeds,
    }


def _cell_record(cell: Cell, samples: SampleFacts, rule: shots.Rule) -> dict[str, Any]:
    record = cell_json(cell)
    per_class = record["per_class_accuracy"]
    found: dict[str, float | None] = dict.fromkeys(shots.GROUPS)
    if isinstance(per_class, list) and samples.counts:
        found = shots.shot_accuracy(per_class, shots.groups_of(samples.counts, rule))
    shot = {f"{group}_shot": value for group, value in found.items()}
    return {**record, **shot, "weight_auroc": samples.auroc, "note": samples.note}
