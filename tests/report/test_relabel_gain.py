"""The gain of corrected labels against scipy, on made-up accuracies."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from storage_fixtures import DIGEST, finish, make_cells, write_grid

from curvetune.config import CellConfig
from curvetune.planning.relabel import Change, Relabelling
from curvetune.report.document import Document
from curvetune.report.relabel import effect_document, gain_document

RELABEL = "0123456789abcdef"


def relabelled(cell: CellConfig) -> CellConfig:
    return cell.model_copy(update={"data": cell.data.model_copy(update={"relabel": RELABEL})})


def grids(root: Path) -> tuple[Relabelling, NDArray[np.float64]]:
    """Return what corrections do where noise was added, and accuracies (method, pair, 2)."""
    old = make_cells(seeds=(0, 1, 2))
    new = [relabelled(cell) if cell.bias.noise_rate else cell for cell in old]
    draw = np.random.default_rng(0)
    numbers = []
    for before, after in zip(old, new, strict=True):
        first = float(draw.normal(60, 8))
        last = first + float(draw.normal(3, 2)) if after is not before else first
        finish(root, before, first)
        if after is not before:
            finish(root, after, last)
        numbers.append((first, last))
    write_grid(root, old)
    write_grid(root, new, "small-relabelled-01234567")
    changes = tuple(
        Change(a, a.cell_id(DIGEST), b.cell_id(DIGEST), b, 5 * (a is not b), 2)
        for a, b in zip(old, new, strict=True)
    )
    what = Relabelling("small", "small-relabelled-01234567", changes, 9, 0, 1, 0)
    return what, np.array(numbers).reshape(-1, 2, 2).transpose(1, 0, 2)  # methods come last


def test_the_gain_of_a_method_is_its_mean_difference_over_pairs_with_students_interval(
    tmp_path: Path,
) -> None:
    what, numbers = grids(tmp_path)
    shown = gain_document(tmp_path, what, "last")
    assert [row["method"] for row in shown.records] == ["cross-entropy", "curvenet"]
    for row, pairs in zip(shown.records, numbers, strict=True):
        gains = pairs[:, 1] - pairs[:, 0]
        assert row["difference"] == pytest.approx(gains.mean())
        assert [row["mean_than"], row["mean_method"]] == pytest.approx(pairs.mean(axis=0))
        interval = stats.t.interval(0.95, len(gains) - 1, gains.mean(), stats.sem(gains))
        assert (row["low"], row["high"]) == pytest.approx(interval)
        assert row["p"] == pytest.approx(stats.wilcoxon(gains[gains != 0], method="exact").pvalue)
        assert (row["pairs"], row["pairs_differing"]) == (12, 6)
    assert "12 pairs are one and the same cell: no label of it changed" in shown.notes


def test_a_cell_that_failed_after_the_correction_is_a_pair_that_is_missing(tmp_path: Path) -> None:
    what, _ = grids(tmp_path)
    gone = next(change for change in what.changes if change.is_changed)
    (tmp_path / "cells" / gone.new_id / "DONE.json").unlink()
    shown = gain_document(tmp_path, what, "last")
    assert [(row["pairs"], row["pairs_wanted"]) for row in shown.records] == [(11, 12), (12, 12)]


def test_each_training_set_says_how_many_corrections_it_took_and_had_already(
    tmp_path: Path,
) -> None:
    what, _ = grids(tmp_path)
    shown = effect_document(tmp_path, what)
    rows = cells_of(shown)
    assert rows["imbalance 10, noise 0.4", "2"] == ("5", "2", "2", "2/2")
    assert rows["imbalance 1, noise 0", "0"] == ("0", "2", "7", "0/2")
    assert len(rows) == 12
    assert "1 of the 9 corrections are of samples that no training set" in " ".join(shown.notes)


def cells_of(shown: Document) -> dict[tuple[str, str], tuple[str, ...]]:
    (sheet,) = shown.sheets
    return {(row[0], row[1]): row[2:] for row in sheet.rows}
