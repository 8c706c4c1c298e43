"""Where the noise is the data's own, nobody knows which labels are wrong, and nothing says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from storage_fixtures import DIGEST, begin, finish, write_grid

from curvetune.config import BiasConfig, CellConfig
from curvetune.data.splits import Split
from curvetune.grids.cells import read_grid
from curvetune.grids.labels import in_common, setting_parts
from curvetune.report.figures import samples, training
from curvetune.report.figures.of_grid import draw_all
from curvetune.report.pages.grid import page
from curvetune.report.tables.detail import table
from curvetune.results import Results
from curvetune.store import CellStore
from curvetune.store.arrays import save_arrays
from curvetune.store.files import folder_of
from curvetune.tracking.sync.runs import cell_data

REAL: dict[str, Any] = {"noise": "real"}
SYNTHETIC: dict[str, Any] = {"noise": "symmetric", "noise_rate": 0.4}


def made_split(bias: dict[str, Any], n: int = 40) -> Split:
    draw = np.random.default_rng(0)
    y_true = draw.integers(0, 2, n)
    wrong = draw.random(n) < (0.0 if bias is REAL else 0.4)
    index = np.arange(n)
    y = np.where(wrong, 1 - y_true, y_true)
    return Split(meta=index[:0], train=index, y=y, y_true=y_true, test=index)


def stored(root: Path, bias: dict[str, Any]) -> CellConfig:
    """Return a finished cell with a weight for each sample; grid "small"."""
    cell = CellConfig.model_validate(
        {"bias": bias, "data": {"name": "digits"}, "method": {"name": "mw-net-noise"}}
    )
    write_grid(root, [cell])
    split = made_split(bias)
    path = folder_of(root, "splits", cell.split_id(DIGEST)).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(path, split.arrays(), {})
    cell_id, store = cell.cell_id(DIGEST), CellStore(root)
    finish(root, cell, 80.0, weight_gap=None)
    result = {k: v for k, v in (store.result(cell_id) or {}).items() if k != "files"}
    store.discard(cell_id)
    begin(root, cell)
    arrays = {"loss": np.linspace(0, 1, 40), "weight": np.linspace(1, 0, 40)}
    save_arrays(store.folder(cell_id) / "samples.safetensors", arrays, {})
    store.publish(cell_id, result)
    return cell


def test_only_noise_that_was_added_is_known() -> None:
    assert not BiasConfig(noise="real").truth_is_known
    assert BiasConfig().truth_is_known
    assert BiasConfig(noise="flip", noise_rate=0.2).truth_is_known


def test_frames_have_nulls_where_nobody_knows(tmp_path: Path) -> None:
    known, unknown = stored(tmp_path / "a", SYNTHETIC), stored(tmp_path / "b", REAL)
    frame = Results(tmp_path / "a").weights(known.cell_id(DIGEST))
    assert frame["is_wrong"].sum() == int(made_split(SYNTHETIC).wrong.sum()) > 0
    empty = Results(tmp_path / "b").weights(unknown.cell_id(DIGEST))
    assert dict(empty.schema) == dict(frame.schema)
    for name in ("true_label", "is_wrong"):
        assert empty[name].null_count() == len(empty) == 40
    assert empty["given_label"].to_list() == made_split(REAL).y.tolist()


def test_tables_and_the_tracker_call_the_noise_unknown(tmp_path: Path) -> None:
    cell = stored(tmp_path, REAL)
    grid = read_grid(tmp_path, "small")
    (setting,) = grid.settings
    assert setting_parts(setting, [setting]) == ("imbalance 1", "noise unknown")
    assert "real noise" in in_common([setting])
    assert table(tmp_path, grid, "seeds", "last").records[0]["noise_rate"] is None
    assert table(tmp_path, grid, "cells", "last").records[0]["weight_auroc"] is None
    data = cell_data(grid, grid.cells[0])
    assert data is not None
    assert "noise unknown" in data.name
    assert data.profile["noise_rate"] is None
    assert cell.bias.noise == "real"


def test_a_grid_of_both_tells_them_apart(tmp_path: Path) -> None:
    clean = CellConfig.model_validate({"data": {"name": "digits"}})
    bias = REAL | {"imbalance": 10}  # at imbalance 1 the two are one cell
    real = CellConfig.model_validate({"data": {"name": "digits"}, "bias": bias})
    write_grid(tmp_path, [clean, real])
    settings = read_grid(tmp_path, "small").settings
    assert [setting_parts(one, settings)[1] for one in settings] == ["noise 0", "noise unknown"]


def text_of(figure: Any) -> str:
    """Return all that is written in a figure."""
    import matplotlib.text

    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def figures_of(known: bool) -> list[Any]:
    split = made_split(SYNTHETIC if known else REAL)
    curves = np.abs(np.random.default_rng(1).normal(1, 0.2, (40, 5)))
    return [
        samples.loss_curves(curves, split, known=known),
        samples.class_counts(split, known=known),
        samples.weights_by_class(np.linspace(0, 1, 40), split, known=known),
        training.confusion({"a": np.eye(2, dtype=np.int64)}, known=known),
    ]


@pytest.mark.parametrize("k", range(4))
def test_a_figure_speaks_of_right_wrong_and_true_only_where_that_is_known(k: int) -> None:
    words = ("right", "wrong", "tru")
    assert any(word in text_of(figures_of(True)[k]) for word in words)
    said = text_of(figures_of(False)[k])
    assert not any(word in said for word in words)
    assert "given" in said


def test_the_figure_that_needs_the_truth_says_why_it_is_not_drawn(tmp_path: Path) -> None:
    stored(tmp_path, REAL)
    (drawn,) = draw_all(tmp_path, read_grid(tmp_path, "small"), only=("weight-time",))
    assert (drawn.figure, drawn.is_missing) == (None, True)
    assert "nobody knows which labels are wrong" in drawn.problem


def test_the_page_speaks_of_given_labels(tmp_path: Path) -> None:
    stored(tmp_path, REAL)
    text = page(tmp_path, "small")
    assert "Final weights by given class" in text
    assert "right and wrong" not in text
    assert "are wrong" not in text
