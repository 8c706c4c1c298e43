import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from storage_fixtures import DIGEST, finish, make_cells, write_grid

from curvetune.analysis import shots
from curvetune.analysis.statistics import by_setting, mean_accuracy, over_seeds, t_interval
from curvetune.analysis.weight_auroc import read_samples, weight_auroc
from curvetune.config import CellConfig
from curvetune.data.splits import Split
from curvetune.errors import CorruptError
from curvetune.grids.cells import read_grid
from curvetune.report.tables.detail import table
from curvetune.store import CellStore
from curvetune.store.arrays import save_arrays
from curvetune.store.files import folder_of

CROSS: dict[str, Any] = {"name": "cross-entropy"}


def test_the_interval_is_that_of_scipys_t_distribution() -> None:
    values = [91.2, 93.4, 90.1]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [80.0, 84.0]])
def test_an_interval_needs_three_values(values: list[float]) -> None:
    assert t_interval(values) is None
    assert t_interval([*values, 5.0, 6.0, 7.0]) is not None


@pytest.mark.parametrize(
    ("values", "ends"),
    [([99.0, 99.9, 97.0], "high"), ([0.5, 0.0, 3.0], "low"), ([0.0, 100.0, 50.0], "both")],
)
def test_an_interval_of_accuracies_stays_within_0_and_100(values: list[float], ends: str) -> None:
    low, high = t_interval(values) or (-1.0, -1.0)
    free_low, free_high = t_interval(values, within=(-1e9, 1e9)) or (0.0, 0.0)
    assert (low, high) == (max(0.0, free_low), min(100.0, free_high))
    assert (low == 0) == (ends in ("low", "both"))
    assert (high == 100) == (ends in ("high", "both"))


def test_a_setting_has_the_interval_of_its_seeds() -> None:
    scores = {("a", 0): 80.0, ("a", 1): 84.0, ("a", 2): 83.0, ("b", 0): 10.0}
    found = over_seeds(by_setting(scores)["a"])
    assert found.interval == pytest.approx(t_interval([80.0, 84.0, 83.0]))
    assert found.n == 3


def test_ma_has_an_interval_only_where_every_seed_has_every_setting() -> None:
    of_a, of_b = (80.0, 84.0, 82.0), (60.0, 62.0, 62.0)
    even = {("a", k): v for k, v in enumerate(of_a)} | {("b", k): v for k, v in enumerate(of_b)}
    assert mean_accuracy(["a", "b"], even).interval == pytest.approx(t_interval([70, 73, 72]))
    uneven = {**even, ("a", 3): 90.0}
    assert mean_accuracy(["a", "b"], uneven).interval is None
    assert mean_accuracy(["a", "b"], uneven).n == 3


def test_the_usual_class_groups_are_taken_where_all_three_exist() -> None:
    counts = [500, 101, 100, 20, 19, 2]
    assert shots.rule_of([counts]) == "counts"
    groups = shots.groups_of(counts, "counts")
    assert groups == {"many": [0, 1], "medium": [2, 3], "few": [4, 5]}
    assert shots.shot_accuracy([90, 80, 70, 60, 20, 0], groups) == {
        "many": 85,
        "medium": 65,
        "few": 10,
    }


def test_thirds_are_taken_where_a_group_would_be_empty_in_one_cell() -> None:
    short = [50, 80, 30, 60, 20, 40, 25]
    assert shots.rule_of([[500, 50, 5], short]) == "thirds"
    # 80, 60, 50 are the largest; seven classes make 3 + 2 + 2
    assert shots.groups_of(short, "thirds") == {"many": [1, 3, 0], "medium": [5, 2], "few": [6, 4]}


def test_a_balanced_cell_has_no_groups_and_decides_no_rule() -> None:
    assert shots.rule_of([[80, 80, 80], [500, 50, 5]]) == "counts"
    empty = shots.groups_of([80, 80, 80], "thirds")
    assert shots.shot_accuracy([1, 2, 3], empty) == {"many": None, "medium": None, "few": None}


def test_a_group_with_an_untested_class_has_no_mean() -> None:
    groups = {"many": [0], "medium": [1, 2], "few": [3]}
    assert shots.shot_accuracy([90, 80, None], groups) == {"many": 90, "medium": None, "few": None}


def made_split(n: int = 40, seed: int = 0) -> Split:
    draw = np.random.default_rng(seed)
    y_true = draw.integers(0, 3, n)
    y = np.where(draw.random(n) < 0.4, (y_true + 1) % 3, y_true)
    index = np.arange(n)
    return Split(meta=index[:0], train=index, y=y, y_true=y_true, test=index)


def test_auroc_of_weights_is_that_of_scikit_learn_ties_included() -> None:
    split = made_split()
    weight = np.round(np.random.default_rng(1).random(40), 1)
    expected = roc_auc_score(~split.wrong, weight)
    assert weight_auroc(weight, split) == pytest.approx(expected)


def test_auroc_is_not_known_without_weights_or_without_noise() -> None:
    split = made_split()
    clean = Split(split.meta, split.train, split.y_true, split.y_true, split.test)
    assert weight_auroc(None, split) is None
    assert weight_auroc(np.ones(40), clean) is None
    with pytest.raises(CorruptError, match="weights of shape"):
        weight_auroc(np.ones(3), split)


def put_samples(root: Path, cell: CellConfig, weight: np.ndarray[Any, Any] | None) -> None:
    """Write the split of `cell` and its final values, and publish it again."""
    split = made_split()
    path = folder_of(root, "splits", cell.split_id(DIGEST)).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(path, split.arrays(), {})
    finish(root, cell, 80, per_class_accuracy=[90.0, 80.0, 70.0])
    store = CellStore(root)
    arrays = {"loss": np.ones(40)} | ({} if weight is None else {"weight": weight})
    store.discard(cell.cell_id(DIGEST))
    save_arrays(store.folder(cell.cell_id(DIGEST)) / "samples.safetensors", arrays, {})
    done = {"accuracy": 80.0, "per_class_accuracy": [90.0, 80.0, 70.0], "seconds": {"a": 1.0}}
    store.publish(cell.cell_id(DIGEST), done)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    cells = make_cells(imbalances=(10,), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path, cells)
    put_samples(tmp_path, cells[0], None)
    put_samples(tmp_path, cells[1], np.where(made_split().wrong, 0.1, 0.9))
    return tmp_path


def test_the_table_of_cells_has_class_groups_and_the_auroc(storage: Path) -> None:
    grid = read_grid(storage, "small")
    rows = table(storage, grid, "cells", "last").records
    assert [row["weight_auroc"] for row in rows] == [None, 1.0]
    order = np.argsort(-np.bincount(made_split().y_true), kind="stable")
    assert rows[0]["many_shot"] == [90.0, 80.0, 70.0][order[0]]
    assert rows[0]["few_shot"] == [90.0, 80.0, 70.0][order[2]]


@pytest.mark.parametrize("what", ["split", "samples"])
def test_damaged_files_cost_a_cell_its_own_numbers_only(storage: Path, what: str) -> None:
    cells = make_cells(imbalances=(10,), noise_rates=(0.4,), seeds=(0,))
    extra = make_cells([CROSS], imbalances=(10,), noise_rates=(0.4,), seeds=(1,))
    write_grid(storage, [*cells, *extra])
    put_samples(storage, extra[0], np.where(made_split().wrong, 0.1, 0.9))
    if what == "split":
        next(storage.glob(f"splits/{cells[0].split_id(DIGEST)}*")).write_bytes(b"rot")
    else:
        folder = CellStore(storage).folder(cells[1].cell_id(DIGEST))
        CellStore(storage).discard(cells[1].cell_id(DIGEST))
        (folder / "samples.safetensors").write_bytes(b"rot")
        CellStore(storage).publish(cells[1].cell_id(DIGEST), {"accuracy": 80.0, "seconds": {}})
    found = table(storage, read_grid(storage, "small"), "cells", "last")
    damaged, whole = found.records[1], found.records[2]
    assert (damaged["weight_auroc"], damaged["accuracy"]) == (None, 80.0)
    assert cells[1].cell_id(DIGEST) in damaged["note"]
    assert (whole["weight_auroc"], whole["note"]) == (1.0, None)
    assert any(cells[1].cell_id(DIGEST) in note for note in found.notes)


def test_labels_that_are_no_classes_are_damage_and_are_not_counted_up_to(storage: Path) -> None:
    cells = make_cells(imbalances=(10,), noise_rates=(0.4,), seeds=(0,))
    path = next(storage.glob(f"splits/{cells[0].split_id(DIGEST)}*"))
    arrays = made_split().arrays()
    arrays["y_true"] = arrays["y_true"] + 2**50
    save_arrays(path, arrays, {})
    found = table(storage, read_grid(storage, "small"), "cells", "last")
    assert [row["weight_auroc"] for row in found.records] == [None, None]
    assert "labels of its split are no classes" in found.records[0]["note"]


def test_a_missing_splits_folder_leaves_the_table(storage: Path) -> None:
    shutil.rmtree(storage / "splits")
    samples = read_samples(storage, read_grid(storage, "small"))
    assert [one.auroc for one in samples] == [None, None]
    assert all(one.note for one in samples)
