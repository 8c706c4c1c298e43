"""Against real MLflow, with a database in a temporary folder."""

import math
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from storage_fixtures import (
    DIGEST,
    EPOCHS,
    START,
    add_epochs,
    add_probe_epochs,
    begin,
    fail,
    finish,
    make_cells,
    shift,
    write_grid,
)
from tracking_helpers import (
    CROSS,
    CURVE,
    cell_name,
    history,
    new_tracker,
    points_of,
    runs_of,
    small,
    the_cells,
)

from curvetune.report.tables.main import report_json
from curvetune.store import CellStore
from curvetune.store.history import read_rows, write_rows
from curvetune.tracking.base import DATABASE, NullTracker, default_uri, resolve_uri, shown
from curvetune.tracking.sync.grid import SENT, GridSync
from curvetune.tracking.sync.thread import sync


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take two seconds to make, once for all tests."""
    from curvetune.tracking.mlflow import MlflowTracker

    root = tmp_path_factory.mktemp("database")
    MlflowTracker(default_uri(root), root)
    return root / DATABASE


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copy(empty_database, tmp_path / DATABASE)
    return tmp_path


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A finished grid, synced once; read only. Accuracies 60 to 63: see `small`."""
    root = tmp_path_factory.mktemp("synced")
    shutil.copy(empty_database, root / DATABASE)
    small(root, 4)
    sync(root, "small", new_tracker(root))
    return root


def test_runs_are_nested_grid_method_cell(synced: Path) -> None:
    cells = the_cells()
    runs = runs_of(synced)
    assert len(runs) == 1 + 2 + 4
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert parents["small"] is None
    assert parents["cross-entropy"] == parents["curvenet"] == runs["small"].info.run_id
    for cell in cells:
        run = runs[cell_name(cell)]
        assert parents[cell_name(cell)] == runs[cell.method.name].info.run_id
        assert run.data.tags["curvetune.cell_id"] == cell.cell_id(DIGEST)
        assert run.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert runs["small"].data.tags["curvetune.grid"] == "small"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_the_params_of_a_cell_are_flat(synced: Path) -> None:
    params = runs_of(synced)[cell_name(the_cells()[3])].data.params
    wanted = {"method": "curvenet", "imbalance": "10", "noise": "uniform_prop", "seed": "0"}
    assert params | wanted == params
    assert {"noise_rate", "model", "data", "skip_layers", "embedding_dim", "removed_losses"} <= (
        params.keys()
    )


def test_each_epoch_is_one_point_at_its_own_time(synced: Path) -> None:
    cell = the_cells()[1]
    points, name = points_of(synced), cell_name(cell)
    rows = CellStore(synced).history(cell.cell_id(DIGEST))
    assert len(rows) == EPOCHS
    for row in rows:
        for key, metric in (("loss", "allocate/loss"), ("accuracy", "accuracy")):
            assert points[name, metric, row["epoch"], round(row["time"] * 1000), row[key]] == 1
    assert len(history(points, name, "probe/loss")) == EPOCHS
    assert history(points, name, "accuracy") == dict.fromkeys(range(EPOCHS), 61.0)
    assert history(points, name, "accuracy_best") == {EPOCHS - 1: 62.0}
    assert history(points, name, "accuracy_last10") == {EPOCHS - 1: 60.0}
    assert len(history(points, name, "weight_gap")) == EPOCHS


def test_the_ma_of_a_method_is_the_mean_of_its_cells(synced: Path) -> None:
    runs = runs_of(synced)
    tracked = {name: runs[name].data.metrics["ma"] for name in ("cross-entropy", "curvenet")}
    assert tracked == {"cross-entropy": (60 + 62) / 2, "curvenet": (61 + 63) / 2}
    reported = {row["method"]: row["ma"] for row in report_json(synced, "small")["methods"]}
    assert reported == tracked


def test_syncing_again_adds_no_run_and_no_point(root: Path) -> None:
    cells = small(root, 3)
    add_epochs(root, cells[3], 2)
    tracker = new_tracker(root)
    sync(root, "small", tracker)
    runs, points = runs_of(root), points_of(root)
    sync(root, "small", tracker)
    sync(root, "small", new_tracker(root))
    assert {n: r.info.run_id for n, r in runs_of(root).items()} == {
        n: r.info.run_id for n, r in runs.items()
    }
    assert points_of(root) == points
    assert set(points.values()) == {1}


def test_points_whose_receipt_was_lost_are_not_doubled(root: Path) -> None:
    from mlflow import MlflowClient

    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    points = points_of(root)
    for cell in cells:  # as if the process had died between the points and the tag
        run = runs_of(root)[cell_name(cell)]
        MlflowClient(default_uri(root)).delete_tag(run.info.run_id, SENT)
    sync(root, "small", new_tracker(root))
    assert points_of(root) == points


def test_ma_follows_the_cells_as_they_finish(root: Path) -> None:
    cells = small(root, 1, methods=[CROSS])
    tracker = new_tracker(root)
    sync(root, "small", tracker)
    metrics = runs_of(root)["cross-entropy"].data.metrics
    assert "ma" not in metrics  # one of two settings has nothing yet
    assert metrics["cells_done"] == 1
    assert runs_of(root)["small"].data.metrics["ma_so_far/cross-entropy"] == 60
    finish(root, cells[1], 80, start=START + 1000)
    sync(root, "small", tracker)
    points = points_of(root)
    assert history(points, "cross-entropy", "ma") == {2: 70}
    assert history(points, "cross-entropy", "cells_done") == {1: 1, 2: 2}


def test_a_later_process_shows_the_same_ma_at_each_step(root: Path) -> None:
    cells = small(root, 2, methods=[CROSS])
    sync(root, "small", new_tracker(root))
    more = cells + make_cells([CROSS], imbalances=(1, 10), noise_rates=(0.4,), seeds=(1,))
    write_grid(root, more)
    for cell, accuracy in zip(more[2:], (70, 81), strict=True):
        finish(root, cell, accuracy, start=START + 10_000 + accuracy)
        sync(root, "small", new_tracker(root))
    live = points_of(root)
    assert history(live, "cross-entropy", "ma") == pytest.approx(
        {2: 60.5, 3: (65 + 61) / 2, 4: (65 + 71) / 2}
    )
    spread = ((60.5 - 68) ** 2 + (75.5 - 68) ** 2) ** 0.5  # of the MA of seed 0 and of seed 1
    assert history(live, "cross-entropy", "ma_std") == {4: round(spread, 2)}


def test_an_ma_that_a_wider_grid_made_unknown_is_not_shown_on(root: Path) -> None:
    cells = small(root, 2, methods=[CROSS])
    sync(root, "small", new_tracker(root))
    write_grid(
        root, [*cells, *make_cells([CROSS], imbalances=(20,), noise_rates=(0.4,), seeds=(0,))]
    )
    tracker = new_tracker(root)
    sync(root, "small", tracker)
    sync(root, "small", tracker)
    metrics = runs_of(root)["cross-entropy"].data.metrics
    assert math.isnan(metrics["ma"])
    assert runs_of(root)["small"].data.metrics["ma_so_far/cross-entropy"] == 60.5
    assert runs_of(root)["cross-entropy"].info.status == "KILLED"


def test_a_cell_that_went_on_from_its_checkpoint_has_each_point_once(root: Path) -> None:
    cells = small(root, 0, methods=[CURVE])
    name = cell_name(cells[0])
    add_probe_epochs(root, cells[0], 2)
    sync(root, "small", new_tracker(root))
    assert len(history(points_of(root), name, "probe/loss")) == 2
    # killed; the checkpoint was older than the last epoch: that one comes again, at another time
    probe = root / "probes" / str(cells[0].probe_id(DIGEST)) / "history.jsonl"
    write_rows(probe, read_rows(probe)[:1])
    sync(root, "small", new_tracker(root))
    add_probe_epochs(root, cells[0], EPOCHS - 1, start=START + 5000)
    add_epochs(root, cells[0], 1, start=START + 6000)
    sync(root, "small", new_tracker(root))
    run_id = runs_of(root)[name].info.run_id
    finish(root, cells[0], 70, start=START + 6000)
    sync(root, "small", new_tracker(root))
    points = points_of(root)
    assert list(history(points, name, "probe/loss")) == list(range(EPOCHS))
    assert list(history(points, name, "allocate/loss")) == list(range(EPOCHS))
    assert runs_of(root)[name].info.run_id == run_id


def test_a_cell_that_was_run_anew_with_other_numbers_gets_a_new_run(root: Path) -> None:
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    folder = CellStore(root).folder(cells[0].cell_id(DIGEST))
    before = runs_of(root)
    for name in ("DONE.json", "history.jsonl"):
        (folder / name).unlink()
    finish(root, cells[0], 90, start=START + 9000)
    sync(root, "small", new_tracker(root))
    name = cell_name(cells[0])
    assert len(runs_of(root)) == len(before)
    assert runs_of(root)[name].info.run_id != before[name].info.run_id
    assert history(points_of(root), name, "accuracy") == dict.fromkeys(range(EPOCHS), 90.0)
    assert runs_of(root)["cross-entropy"].data.metrics["ma"] == (90 + 62) / 2


def test_a_deleted_database_is_rebuilt_in_silence(root: Path) -> None:
    small(root, 4)
    sync(root, "small", new_tracker(root))
    before = points_of(root)
    (root / DATABASE).unlink()
    # in a process of its own: MLflow keeps a database open that is no longer there
    code = (
        "import sys; from curvetune.tracking.sync.thread import TrackerThread\n"
        "with TrackerThread(sys.argv[1], 'small'): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=root,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    copy = shutil.copy(root / DATABASE, root / "copy.db")
    assert points_of(root, uri=f"sqlite:///{copy}") == before
    assert not (root / "mlruns").exists()


def test_statuses_and_errors_are_those_of_the_cells(root: Path) -> None:
    cells = small(root, 1)
    fail(root, cells[1], "RuntimeError: no luck")
    add_epochs(root, cells[2], 1)
    update = partial(GridSync(root, "small").update, new_tracker(root))
    update()
    runs = runs_of(root)
    assert runs[cell_name(cells[1])].info.status == "FAILED"
    assert runs[cell_name(cells[1])].data.tags["curvetune.error"] == "RuntimeError: no luck"
    assert runs[cell_name(cells[2])].info.status == "RUNNING"
    assert runs["small"].info.status == "RUNNING"
    assert cell_name(cells[3]) not in runs  # it has not begun
    update(running=False)  # the driver ends
    runs = runs_of(root)
    assert runs[cell_name(cells[2])].info.status == "KILLED"
    assert (runs["small"].info.status, runs["cross-entropy"].info.status) == ("FAILED", "KILLED")
    finish(root, cells[1], 70)
    update()
    again = runs_of(root)[cell_name(cells[1])]
    assert (again.info.status, again.data.tags["curvetune.error"]) == ("FINISHED", "")
    shift(begin(root, cells[2]) / "config.json", 1)
    update()
    assert runs_of(root)[cell_name(cells[2])].info.status == "RUNNING"


def test_the_table_is_a_note_and_an_artifact(synced: Path) -> None:
    top = runs_of(synced)["small"]
    assert "| curvenet | **62.00** | 2/2 |" in top.data.tags["mlflow.note.content"]
    assert "`curvetune grid small`" in top.data.tags["mlflow.note.content"]
    (path,) = (synced / "mlartifacts" / "small").glob("*/artifacts/report.md")
    assert "imbalance 10, noise 0.4" in path.read_text()


def test_a_cell_of_two_grids_has_a_run_in_each(root: Path) -> None:
    cells = small(root, 4)
    write_grid(root, cells[:2], "other")
    tracker = new_tracker(root)
    sync(root, "small", tracker)
    sync(root, "other", tracker)
    assert len(runs_of(root, "small")) == 7
    assert len(runs_of(root, "other")) == 5


def test_cells_move_to_a_new_label_when_an_option_begins_to_vary(root: Path) -> None:
    cells = small(root, 2, methods=[{**CURVE, "skip_layers": 0}])
    sync(root, "small", new_tracker(root))
    both = [{**CURVE, "skip_layers": 0}, {**CURVE, "skip_layers": 3}]
    write_grid(root, the_cells(both))
    sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    run = runs[cell_name(cells[0])]
    assert run.data.tags["mlflow.parentRunId"] == runs["curvenet skip_layers=0"].info.run_id
    assert runs["curvenet skip_layers=0"].data.metrics["ma"] == 60.5


def test_an_experiment_that_was_deleted_by_hand_comes_back(root: Path) -> None:
    from mlflow import MlflowClient

    small(root, 1)
    sync(root, "small", new_tracker(root))
    client = MlflowClient(default_uri(root))
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    sync(root, "small", new_tracker(root))
    assert runs_of(root)["cross-entropy"].info.status == "KILLED"


def test_the_default_is_a_database_in_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(tmp_path, None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert resolve_uri(tmp_path, None) == "http://host:5000"
    assert resolve_uri(tmp_path, "https://other") == "https://other"


def test_a_password_is_not_shown() -> None:
    assert shown("https://me:secret@host:5000/x") == "https://***@host:5000/x"


def test_the_null_tracker_takes_everything(tmp_path: Path) -> None:
    small(tmp_path, 4)
    sync(tmp_path, "small", NullTracker())
    assert not (tmp_path / DATABASE).exists()
