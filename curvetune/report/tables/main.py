"""The tables of a report: MA of each method, and its accuracy in each bias setting."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.analysis.aggregate import MethodRow, grid_json, method_rows
from curvetune.analysis.chance import MARK, chance_note
from curvetune.config import HUMAN
from curvetune.errors import StorageError, printable
from curvetune.grids.cells import Grid, Select, read_grid
from curvetune.grids.labels import in_common, setting_parts
from curvetune.grids.stamps import stamp_notes
from curvetune.report.document import FORMS, Document, check_form, print_document
from curvetune.report.numbers import spread
from curvetune.report.sheet import Sheet
from curvetune.report.tables.devices import device_notes
from curvetune.report.tables.step_times import read_step_times, step_times_sheet
from curvetune.report.verdict import sentences, verdict, verdict_lines
from curvetune.system.collecting import not_collected
from curvetune.system.json_text import json_text
from curvetune.system.source_code import code_of, mixture

if TYPE_CHECKING:
    from rich.console import Console


def selected(select: Select, grid: Grid) -> str:
    """Return which accuracy the numbers of a grid are."""
    if select == "last10":
        return f"mean accuracy of the last {grid.last_epochs} epochs"
    if select == "best":
        return "best accuracy over epochs, which selects on the test set"
    return "accuracy of the last epoch"


def ma_sheet(grid: Grid, select: Select = "last") -> Sheet:
    """Return the MA of each method, the best first."""
    rows = by_ma(method_rows(grid, select))
    best = best_rows([row.ma.mean for row in rows])
    settings = len(grid.settings)
    return Sheet(
        title=f"{grid.title}: mean accuracy (MA, %) over {settings} bias "
        f"setting{'s' if settings > 1 else ''}",
        header=(("method",), ("MA",), ("cells done",)),
        rows=tuple(
            (r.label, marked(spread(r.ma), r.at_chance), f"{r.cells_done}/{r.cells}") for r in rows
        ),
        best=frozenset((k, 1) for k in best),
        below=tuple(verdict_lines(grid, select)),
    )


def paper_sheet(grid: Grid, select: Select = "last") -> Sheet:
    """Return one table for a paper: the accuracy in each setting, then the MA.

    Bold are the best MA and those that are not told apart from it, if the number of pairs allows
    such a verdict. Within a setting there are seeds alone, which are too few for bold.
    """
    rows = by_ma(method_rows(grid, select))
    found = verdict(grid, select)
    alike = found.like_the_best()
    settings = grid.settings
    several = len(settings) > 1
    parts = [setting_parts(setting, settings) for setting in settings]
    title = f"Test accuracy (%) on {in_common(settings)}" + ", and its mean (MA)" * several
    title += f" ({grid.stamp})" * bool(grid.stamp)
    header = (("method",), *parts, *([("MA",)] if several else []))
    body = tuple(
        (row.label, *_setting_values(row), *([spread(row.ma)] if several else [])) for row in rows
    )
    last = len(header) - 1
    bold = "bold: the best MA, and those not told apart from it" if alike else "no bold"
    seeds = len({cell.seed for cell in grid.cells})
    over = f"; mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "; one seed"
    return Sheet(
        title=title,
        header=header,
        rows=body,
        best=frozenset((k, last) for k, row in enumerate(rows) if row.label in alike),
        below=(f"{selected(select, grid)}{over}", bold, *sentences(found)),
    )


def settings_sheet(grid: Grid, select: Select = "last") -> Sheet:
    """Return the accuracy of each method in each bias setting."""
    rows = by_ma(method_rows(grid, select))
    settings = grid.settings
    columns = [[row.settings[c].accuracy.mean for row in rows] for c in range(len(settings))]
    return Sheet(
        title=f"{grid.title}: accuracy (%) per bias setting ({in_common(settings)})",
        header=(("method",), *(setting_parts(setting, settings) for setting in settings)),
        rows=tuple((row.label, *_setting_values(row)) for row in rows),
        best=frozenset((k, c + 1) for c, column in enumerate(columns) for k in best_rows(column)),
    )


def footnotes(grid: Grid, select: Select = "last") -> list[str]:
    """Return what a reader of the tables must know."""
    seeds = len({cell.seed for cell in grid.cells})
    if seeds > 1:
        notes = [f"{selected(select, grid)}; mean ± sample standard deviation over {seeds} seeds"]
    else:
        notes = [f"{selected(select, grid)}; one seed, so there is no spread"]
    counts = grid.counts()
    missing = len(grid.cells) - counts["done"]
    if missing:
        states = [f"{n} {state}" for state, n in counts.items() if n and state != "done"]
        notes.append(
            f"{missing} of {len(grid.cells)} cells are missing ({', '.join(states)}): an MA stands "
            f"only where every setting has a seed done; (n/N) is the number of seeds"
        )
        notes.append(f"`curvetune status {grid.name}` shows each cell and why it failed")
    notes += _shares(grid)
    results = [cell.result for cell in grid.cells if cell.result is not None]
    columns = [column for row in method_rows(grid, select) for column in row.settings]
    notes += chance_note([c.chance for c in columns if c.at_chance and c.chance is not None])
    notes += [*stamp_notes(grid.profiles), *grid.others]
    return [*notes, *mixture(map(code_of, results)), *device_notes(results)]


def _shares(grid: Grid) -> list[str]:
    """Return what share of people's labels is wrong in the training sets of the finished cells."""
    shares: dict[tuple[str, float], set[float]] = {}
    for cell in grid.cells:
        if cell.setting.noise in HUMAN and cell.noise_rate is not None:
            where = (cell.setting.noise, cell.setting.imbalance)
            shares.setdefault(where, set()).add(cell.noise_rate)
    return [
        f"{kind}, imbalance {imbalance:g}: {_span(found)} % of people's labels are wrong"
        for (kind, imbalance), found in shares.items()
    ]


def _span(shares: set[float]) -> str:
    low, high = f"{100 * min(shares):.1f}", f"{100 * max(shares):.1f}"
    return low if low == high else f"{low} to {high}"


@not_collected()
def report_document(storage: Path | str, grid: Grid, select: Select = "last") -> Document:
    """Return both tables of a grid, and that of the times of a step where they were measured."""
    sheets, notes = [ma_sheet(grid, select), settings_sheet(grid, select)], []
    try:
        times = read_step_times(Path(storage), grid.name)
        sheets += [step_times_sheet(times)] if times is not None else []
    except StorageError as error:
        times = None
        notes.append(f"the times of a step cannot be read: {printable(error)}")
    notes = [*footnotes(grid, select), *notes]
    paper = (paper_sheet(grid, select), *sheets[2:])
    more = {"step_times": times}
    return Document("report", grid.name, tuple(sheets), (), tuple(notes), more, paper)


def print_report(
    storage: Path | str, grid: str, console: "Console", select: Select = "last"
) -> None:
    """Print the report to a terminal; a table that is too wide goes on in a further one below.

    Raises:
        ConfigError: the storage has no such grid.
    """
    print_document(report_document(storage, read_grid(storage, grid), select), console)


def render(storage: Path | str, grid: str, form: str, select: Select = "last") -> str:
    """Return a report as `markdown`, `csv`, `json`, `latex` or `html`.

    Raises:
        ConfigError: there is no such form, or the storage has no such grid.
    """
    check_form(form)
    if form == "json":
        return json_text(report_json(storage, grid, select)) + "\n"
    found = read_grid(storage, grid)
    if form == "csv":
        return report_csv(found, select)
    return FORMS[form](report_document(storage, found, select))


@not_collected()
def report_json(storage: Path | str, grid: str, select: Select = "last") -> dict[str, Any]:
    """Return what `report GRID --json` prints (docs/architecture.md has the contract).

    Args:
        select: which accuracy the means are of; the cells always hold all three.

    Raises:
        ConfigError: the storage has no such grid.
    """
    found = read_grid(storage, grid)
    document = report_document(storage, found, select)
    said = {"verdict": list(document.sheets[0].below), "notes": list(document.notes)}
    return {**grid_json(found, select), **document.more, **said}


def report_csv(grid: Grid, select: Select = "last") -> str:
    """Return a row per method: MA, then mean and spread of each setting; empty is not known."""
    settings = [", ".join(setting_parts(setting, grid.settings)) for setting in grid.settings]
    profile = [("profile", ",".join(grid.profiles))] if grid.stamp else []
    header = ["method", "ma", "ma_std", "cells_done", "cells"]
    for setting in settings:
        header += [setting, f"{setting}, std", f"{setting}, seeds"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *(name for name, _ in profile)])
    for row in by_ma(method_rows(grid, select)):
        values: list[object] = [row.label, row.ma.mean, row.ma.std, row.cells_done, row.cells]
        for column in row.settings:
            values += [column.accuracy.mean, column.accuracy.std, column.seeds_done]
        writer.writerow([*values, *(value for _, value in profile)])
    return text.getvalue()


def marked(text: str, at_chance: bool | None) -> str:
    """Return an accuracy with the mark of chance level, if it is no better."""
    return f"{text} {MARK}" if at_chance else text


def by_ma(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Return `rows` by falling MA; those without one last, in the grid's order."""
    return sorted(rows, key=lambda row: -1.0 if row.ma.mean is None else row.ma.mean, reverse=True)


def best_rows(column: Sequence[float | None]) -> list[int]:
    """Return where the highest value of `column` stands, as printed; nowhere for one row alone."""
    shown = [round(value, 2) for value in column if value is not None]
    if len(shown) < 2:
        return []
    return [k for k, v in enumerate(column) if v is not None and round(v, 2) == max(shown)]


def _setting_values(row: MethodRow) -> list[str]:
    """Return the accuracies of a row, with (n/N) where seeds are missing."""
    return [
        marked(spread(c.accuracy), c.at_chance)
        + (f" ({c.seeds_done}/{c.seeds})" if 0 < c.seeds_done < c.seeds else "")
        for c in row.settings
    ]
