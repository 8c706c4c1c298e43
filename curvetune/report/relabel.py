"""What corrected labels did to a grid: to the labels of each split, and to the accuracies."""

from pathlib import Path
from typing import Any

from curvetune.analysis.significance import Paired, Scores, compare, corrected
from curvetune.grids.cells import Cell, Select, read_grid
from curvetune.grids.labels import Setting, setting_parts
from curvetune.grids.stamps import stamp_notes
from curvetune.planning.relabel import Change, Relabelling
from curvetune.report.document import Document
from curvetune.report.numbers import between, of, p_value, percent, signed
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import selected
from curvetune.report.tables.paired import notes_of_test, paired_record


def effect_document(storage: Path, what: Relabelling) -> Document:
    """Return how many corrections apply to the training sets of a grid's finished cells."""
    return Document(
        "relabel", what.base, (_effect(storage, what),), tuple(_records(what)), tuple(_said(what))
    )


def gain_document(storage: Path, what: Relabelling, select: Select) -> Document:
    """Return how far each method is above itself before the labels were corrected, pair by pair.

    A pair is a finished cell of the grid, and what became of it: the same setting and seed.
    """
    grid = read_grid(storage, what.name)
    after = {cell.cell_id: cell for cell in grid.cells}
    became = {change.old_id: after.get(change.new_id) for change in what.changes}
    pairs = [(cell, became[cell.cell_id]) for cell in _before(storage, what)]
    labels = dict.fromkeys(cell.label for cell, _ in pairs)
    compared = corrected([_gain(label, pairs, what, select) for label in labels])
    stayed = len(what.changes) - len(what.changed)
    notes = [
        selected(select, grid),
        *stamp_notes(grid.profiles),
        *_said(what),
        *([f"{stayed} pairs are one and the same cell: no label of it changed"] if stayed else []),
        *notes_of_test(compared),
    ]
    sheets = (_effect(storage, what), _gains(what, compared))
    records = tuple(paired_record(one) for one in compared)
    return Document("relabel", what.name, sheets, records, tuple(notes))


def relabel_json(what: Relabelling) -> dict[str, Any]:
    """Return what corrections do to each cell, for programs."""
    return {
        "grid": what.name,
        "base": what.base,
        "corrections": what.size,
        "rows_without_label": what.empty,
        "corrections_not_trained_on": what.unused,
        "cells_changed": len(what.changed),
        "cells_not_done": what.missing,
        "cells": _records(what),
    }


def _records(what: Relabelling) -> list[dict[str, Any]]:
    return [
        {
            "before": change.old_id,
            "cell_id": change.new_id,
            "relabel": change.config.data.relabel,
            "applied": change.applied,
            "agreed": change.agreed,
            "not_trained_on": what.size - change.applied - change.agreed,
        }
        for change in what.changes
    ]


def _before(storage: Path, what: Relabelling) -> list[Cell]:
    """Return the cells of the grid that were compared, as they are now."""
    known = {change.old_id for change in what.changes}
    return [cell for cell in read_grid(storage, what.base).cells if cell.cell_id in known]


def _effect(storage: Path, what: Relabelling) -> Sheet:
    """Return a row for each setting and seed: its cells have the same training set, or nearly."""
    by_id = {change.old_id: change for change in what.changes}
    cells = _before(storage, what)
    settings = tuple(dict.fromkeys(cell.setting for cell in cells))
    rows: dict[tuple[str, ...], list[Change]] = {}
    for cell in cells:
        change = by_id[cell.cell_id]
        words = ", ".join(setting_parts(cell.setting, settings))
        outside = what.size - change.applied - change.agreed
        numbers = (change.applied, change.agreed, outside)
        rows.setdefault((words, str(cell.seed), *map(str, numbers)), []).append(change)
    header = (
        *(("setting",), ("seed",), ("corrected",)),
        *(("agreed", "already"), ("not", "trained on"), ("cells", "changed")),
    )
    return Sheet(
        f"{what.base}: what {what.size} corrected labels do to its training sets",
        header,
        tuple(
            (*row, of(sum(c.is_changed for c in changes), len(changes)))
            for row, changes in rows.items()
        ),
        keys=2,
    )


def _gain(
    label: str, pairs: list[tuple[Cell, Cell | None]], what: Relabelling, select: Select
) -> Paired:
    """Return the comparison of a method with itself."""
    before, after = _scores(label, pairs, select)
    wanted = sum(cell.label == label for cell, _ in pairs)
    return compare(what.base, label, before, after, wanted)


def _scores(
    label: str, pairs: list[tuple[Cell, Cell | None]], select: Select
) -> tuple[Scores[Setting], Scores[Setting]]:
    """Return the accuracies before and after, by setting and seed; only those that are known."""
    before, after = {}, {}
    for old, new in pairs:
        if old.label != label:
            continue
        if (accuracy := old.accuracy(select)) is not None:
            before[old.setting, old.seed] = accuracy
        if new is not None and (accuracy := new.accuracy(select)) is not None:
            after[old.setting, old.seed] = accuracy
    return before, after


def _gains(what: Relabelling, compared: list[Paired]) -> Sheet:
    header = ("method", "before", "after", "gain", "95 % interval", "p (Holm)", "pairs")
    rows = tuple(
        (
            one.b,
            percent(one.mean_a),
            percent(one.mean_b),
            signed(one.difference),
            between(one.interval, "+"),
            p_value(one.p_holm),
            of(one.n, one.wanted),
        )
        for one in compared
    )
    bold = frozenset((k, 5) for k, one in enumerate(compared) if one.holds)
    title = f"{what.name}: accuracy (%) before and after, mean over the pairs; gain in points"
    return Sheet(title, tuple((name,) for name in header), rows, bold)


def _said(what: Relabelling) -> list[str]:
    """Return what a reader of the counts must know."""
    lines = [
        f"{len(what.changed)} of {len(what.changes)} cells change; each of the others keeps its "
        f"result"
    ]
    if what.unused:
        lines.append(
            f"{what.unused} of the {what.size} corrections are of samples that no training set of "
            f"these cells has"
        )
    if what.missing:
        lines.append(
            f"left out: {what.missing} cells of {what.base} that are not done, since there is no "
            f"accuracy before"
        )
    return lines
