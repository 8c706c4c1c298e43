"""What MLflow's pages are made of: numbers, files, colours, marks of divergence, addresses."""

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from storage_fixtures import DIGEST, add_epochs, finish, make_cells, write_grid
from tracking_helpers import CROSS, CURVE, cell_name, new_tracker, points_of, runs_of, small

from curvetune.analysis.statistics import accuracies_so_far
from curvetune.cli import info
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.report.colours import colour_of
from curvetune.store import CellStore
from curvetune.store.history import read_rows
from curvetune.tracking.base import DATABASE, GRID_TAG
from curvetune.tracking.lookup import find_grids
from curvetune.tracking.sync.share import METHODS, TAG, share_key
from curvetune.tracking.sync.thread import sync


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("database")
    new_tracker(root)
    return root / DATABASE


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copy(empty_database, tmp_path / DATABASE)
    return tmp_path


def files_of(root: Path, run: Any, grid: str = "small") -> dict[str, str]:
    folder = root / "mlartifacts" / grid / run.info.run_id / "artifacts"
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def diverge(root: Path, cell: CellConfig, epoch: int, loss: float) -> None:
    path = CellStore(root).folder(cell.cell_id(DIGEST)) / "history.jsonl"
    rows = read_rows(path)
    rows[epoch]["loss"] = loss
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))  # NaN too


def test_the_run_of_a_grid_has_params_numbers_and_a_picture(root: Path) -> None:
    small(root, 4)
    sync(root, "small", new_tracker(root))
    run = runs_of(root)["small"]
    assert run.data.params["model"] == "resnet8"
    assert run.data.tags["curvetune.methods"] == "cross-entropy, curvenet"
    assert run.data.metrics["cells_done"] == 4
    assert run.data.metrics["ma/cross-entropy"] == 61.0
    assert run.data.metrics["ma/curvenet"] == 62.0
    picture = ElementTree.fromstring(files_of(root, run)["ma.svg"])
    texts = {element.text for element in picture.iter() if element.tag.endswith("text")}
    assert {"cross-entropy", "curvenet", "61.00", "62.00"} <= texts
    assert (
        f"get-artifact?path=ma.svg&run_uuid={run.info.run_id}"
        in run.data.tags["mlflow.note.content"]
    )


def test_numbers_are_rounded_as_in_tables(root: Path) -> None:
    cells = make_cells([CROSS], imbalances=(1,), noise_rates=(0.4,), seeds=(0, 1, 2))
    write_grid(root, cells)
    for cell, accuracy in zip(cells, (200 / 3, 100 / 3, 50.123456), strict=True):
        finish(root, cell, accuracy)
    sync(root, "small", new_tracker(root))
    shown = [value for _, key, _, _, value in points_of(root) if key.startswith(("ma", "acc"))]
    assert len(shown) > 10
    assert all(value == round(value, 2) for value in shown)


def test_methods_and_their_cells_have_one_colour_which_is_that_of_figures(root: Path) -> None:
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    for cell in cells:
        name = cell.method.name
        for run in (runs[name], runs[cell_name(cell)]):
            assert run.data.tags["mlflow.runColor"] == colour_of(name)
    assert "mlflow.runColor" not in runs["small"].data.tags


def test_a_cell_that_is_done_has_files_once_and_no_chart_for_each_class(root: Path) -> None:
    cells = small(root, 3)
    sync(root, "small", new_tracker(root))
    run = runs_of(root)[cell_name(cells[0])]
    assert not [key for key in run.data.metrics if key.startswith("accuracy_class")]
    files = files_of(root, run)
    assert json.loads(files["result.json"])["accuracy"] == 60
    rows = list(csv.DictReader(io.StringIO(files["per_class.csv"])))
    assert [row["class"] for row in rows] == [str(k) for k in range(len(rows))]
    assert len(rows) > 1
    ElementTree.fromstring(files["learning.svg"])
    assert files_of(root, runs_of(root)["curvenet"]).keys() == {"cells.md", "heat.svg"}


def test_cells_that_an_older_version_sent_get_their_files_and_no_second_point(root: Path) -> None:
    from mlflow import MlflowClient

    from curvetune.tracking.base import default_uri
    from curvetune.tracking.sync.grid import FILES

    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    points, run = points_of(root), runs_of(root)[cell_name(cells[0])]
    MlflowClient(default_uri(root)).delete_tag(run.info.run_id, FILES)
    folder = root / "mlartifacts" / "small" / run.info.run_id
    shutil.rmtree(folder)
    sync(root, "small", new_tracker(root))
    assert files_of(root, run).keys() == {"result.json", "learning.svg", "per_class.csv"}
    assert points_of(root) == points


@pytest.mark.parametrize("loss", [math.nan, math.inf, 812.0])
def test_a_divergence_is_a_tag_a_metric_and_in_the_notes(root: Path, loss: float) -> None:
    cells = small(root, 4)
    diverge(root, cells[0], 3, loss)
    sync(root, "small", new_tracker(root))
    before = points_of(root), runs_of(root)[cell_name(cells[0])].info.run_id
    sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    run = runs[cell_name(cells[0])]
    assert len(points_of(root)) == len(before[0])
    assert run.info.run_id == before[1]  # a NaN is not taken for other numbers
    assert "epoch 3" in run.data.tags["curvetune.diverged"]
    assert run.data.metrics["diverged"] == 1
    assert "Diverged" in run.data.tags["mlflow.note.content"]
    note = runs["small"].data.tags["mlflow.note.content"]
    assert "1 of 4 cells diverged" in note
    assert cell_name(cells[0]) in note
    other = runs[cell_name(cells[1])].data
    assert "diverged" not in other.metrics
    assert "curvetune.diverged" not in other.tags


def test_a_cell_that_failed_since_it_diverged_has_the_mark_until_it_is_run_again(
    root: Path,
) -> None:
    cells = small(root, 0)
    add_epochs(root, cells[0], 1)
    CellStore(root).fail(cells[0].cell_id(DIGEST), "DivergedError: nan", "", kind="diverged")
    sync(root, "small", new_tracker(root))
    tags = runs_of(root)[cell_name(cells[0])].data.tags
    assert tags["curvetune.diverged"] == "DivergedError: nan"
    assert "Diverged" in tags["mlflow.note.content"]
    finish(root, cells[0], 70)
    sync(root, "small", new_tracker(root))
    tags = runs_of(root)[cell_name(cells[0])].data.tags
    assert (tags["curvetune.diverged"], tags["mlflow.note.content"]) == ("", "")


def test_ma_so_far_is_over_what_all_methods_have_done() -> None:
    a = {("easy", 0): 90.0, ("easy", 1): 92.0, ("hard", 0): 50.0}
    b = {("easy", 0): 88.0, ("hard", 0): 54.0, ("hard", 1): 10.0}
    assert accuracies_so_far({"a": a, "b": b}) == {"a": 70.0, "b": 71.0}
    assert accuracies_so_far({"a": a}) == {"a": (91 + 50) / 2}
    assert accuracies_so_far({"a": a, "b": {}}) == {"a": None, "b": None}
    assert accuracies_so_far({}) == {}


def test_a_method_that_is_ahead_in_easy_settings_alone_has_no_ma_so_far(root: Path) -> None:
    cells = small(root, 0, methods=[CROSS, CURVE])  # imbalance 1, then 10
    finish(root, cells[0], 99)
    sync(root, "small", new_tracker(root))
    metrics = runs_of(root)["small"].data.metrics
    assert not [key for key in metrics if key.startswith("ma_so_far")]
    finish(root, cells[1], 70)
    finish(root, cells[2], 10)
    sync(root, "small", new_tracker(root))
    metrics = runs_of(root)["small"].data.metrics
    assert metrics["ma_so_far/cross-entropy"] == 99
    assert metrics["ma_so_far/curvenet"] == 70


def test_the_pages_of_grids_are_found_without_mlflow_the_latest_first(root: Path) -> None:
    small(root, 4)
    later = make_cells([CROSS], imbalances=(7,), noise_rates=(0.1,), seeds=(0,))
    write_grid(root, later, "later")
    finish(root, later[0], 50, start=1_800_000_000.0)
    for grid in ("later", "small"):
        sync(root, grid, new_tracker(root))
    found = find_grids(root / DATABASE, GRID_TAG, TAG + share_key(METHODS))
    assert [grid.name for grid in found] == ["later", "small"]
    assert found[1].run_id == runs_of(root)["small"].info.run_id
    page = found[1].page(share_key(METHODS))
    assert page == f"/#/experiments/{found[1].experiment_id}/runs?viewStateShareKey=" + share_key(
        METHODS
    )
    pages = info._pages(root / DATABASE, "http://h", "small")
    assert pages[0] == ("small, Methods by MA", f"http://h{page}")
    assert pages[1][1].endswith(f"{found[1].run_id}/artifacts/ma.svg")
    with pytest.raises(ConfigError, match=r"no such grid; did you mean 'small'\?|it has: later"):
        info._pages(root / DATABASE, "http://h", "smal")


def test_a_database_without_grids_or_that_is_none_has_no_pages(root: Path, tmp_path: Path) -> None:
    assert find_grids(root / DATABASE, GRID_TAG, TAG) == []
    (tmp_path / "broken.db").write_text("no database")
    assert find_grids(tmp_path / "broken.db", GRID_TAG, TAG) == []
    assert info._pages(tmp_path / "none.db", "http://h", None) == [("no grid yet", "http://h")]
