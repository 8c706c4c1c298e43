"""`curvetune sync`, and what may happen between the storage and MLflow: each point ends up once.

With real MLflow, whose answers a stand-in for its client loses; tests/faults has a real network.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from storage_fixtures import DIGEST, START, add_probe_epochs, finish, make_cells, write_grid
from tracking_helpers import (
    CROSS,
    CURVE,
    assert_up_to_date,
    cell_name,
    free_port,
    new_tracker,
    points_of,
    runs_of,
    small,
    the_cells,
)
from typer.testing import CliRunner, Result

from curvetune.cli import sync as command
from curvetune.config import CellConfig
from curvetune.errors import BackendError, BusyError, ConfigError
from curvetune.store import CellStore
from curvetune.store.lease import leased
from curvetune.tracking.base import DATABASE, NullTracker, RunSpec, Tracker, default_uri
from curvetune.tracking.sync.thread import TrackerThread, sync
from curvetune.tracking.sync.turns import Turns

app = typer.Typer()
app.command()(command.sync)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take two seconds to make, once for all tests."""
    root = tmp_path_factory.mktemp("database")
    new_tracker(root)
    return root / DATABASE


@pytest.fixture
def root(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / DATABASE)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def seen_by_others(root: Path) -> str:
    """The address of a copy of the database, as another process would read it."""
    copy = shutil.copy(root / DATABASE, root / f"copy-{time.monotonic_ns()}.db")
    return f"sqlite:///{copy}"


def test_sync_brings_every_grid_up_to_date_and_says_what_it_sent(root: Path) -> None:
    cells = small(root, 4)
    write_grid(root, cells[:2], "other")
    found = json.loads(run("--storage", root, "--json").stdout)
    assert found["schema_version"] == 1
    assert found["tracking_uri"] == default_uri(root)
    assert [(row["grid"], row["up_to_date"], row["runs"]) for row in found["grids"]] == [
        ("other", True, 1 + 2 + 2),
        ("small", True, 1 + 2 + 4),
    ]
    assert found["grids"][1]["points_sent"] == sum(points_of(root).values())
    assert_up_to_date(root, cells)
    again = run("small", "--storage", root)
    assert again.stdout == "small: up to date (7 runs, 0 points sent)\n"
    assert (again.exit_code, again.stderr) == (0, "")


def test_a_tracker_that_cannot_be_reached_is_one_line_and_code_5(root: Path) -> None:
    small(root, 1)
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    with pytest.raises(BackendError, match="cannot be reached") as raised:
        run("--storage", root, "--tracking-uri", uri)
    assert raised.value.exit_code == 5
    assert "secret" not in str(raised.value)


def test_an_unknown_grid_is_refused_and_no_grid_is_no_error(root: Path) -> None:
    small(root, 1)
    with pytest.raises(ConfigError, match=r"unknown grid 'smal' \(did you mean 'small'\?\)"):
        run("smal", "--storage", root)
    empty = run("--storage", root / "nowhere", "--json")
    assert json.loads(empty.stdout)["grids"] == []
    assert "no grid in" in empty.stderr


def test_a_grid_that_cannot_be_read_does_not_keep_the_others_back(root: Path) -> None:
    cells = small(root, 4)
    (root / "grids" / "bad.json").write_text("{")
    found = run("--storage", root, "--json")
    bad, good = json.loads(found.stdout)["grids"]
    assert (bad["grid"], bad["up_to_date"], good["up_to_date"]) == ("bad", False, True)
    assert found.exit_code == 5
    assert "error: bad: " in found.stderr
    assert_up_to_date(root, cells)


def test_a_deleted_database_is_rebuilt_also_by_a_process_that_had_it_open(root: Path) -> None:
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    before = points_of(root)
    for _ in range(2):
        (root / DATABASE).unlink()
        assert run("small", "--storage", root).exit_code == 0
        uri = seen_by_others(root)
        assert points_of(root, uri=uri) == before
        assert_up_to_date(root, cells, uri=uri)


def test_a_database_that_is_deleted_while_a_grid_runs_is_rebuilt_by_its_end(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = small(root, 2)
    with TrackerThread(root, "small", every_s=0.1):
        time.sleep(1)
        (root / DATABASE).unlink()
        time.sleep(0.5)
        for k in (2, 3):
            finish(root, cells[k], 60 + k, start=START + 100 * k)
    assert_up_to_date(root, cells, uri=seen_by_others(root))
    assert "was deleted or replaced while it was in use" in caplog.text


def spoil_receipt(root: Path, cells: list[CellConfig]) -> None:
    (root / "grids" / ".sync" / "small" / "receipt.json").write_text("[")


def make_anew(root: Path, cells: list[CellConfig]) -> None:
    CellStore(root).discard(cells[0].cell_id(DIGEST))
    finish(root, cells[0], 44, start=START + 999)


def add_done_cell(root: Path, cells: list[CellConfig]) -> None:
    (cell,) = make_cells([CROSS], imbalances=(1,), noise_rates=(0.4,), seeds=(7,))
    finish(root, cell, 50, start=START)
    write_grid(root, [*cells, cell])


CHANGES: dict[str, Callable[[Path, list[CellConfig]], object]] = {
    "the database is gone": lambda root, _: (root / DATABASE).unlink(),
    "another grid wrote to the database": lambda root, _: new_tracker(root).run(
        RunSpec("other", ("curvetune.grid", "other"), "other", None)
    ),
    "a result was made anew": make_anew,
    "a cell that is done was added": add_done_cell,
    "a result was lost": lambda root, cells: CellStore(root).discard(cells[0].cell_id(DIGEST)),
    "the receipt is damaged": spoil_receipt,
}


def caught_up(
    root: Path, *, log_models: bool = False, new: Callable[[Path], Tracker] = new_tracker
) -> bool:
    """Whether a grid with nothing to run has asked the tracker."""
    asked: list[Tracker] = []

    def connect() -> Tracker:
        asked.append(new(root))
        return asked[0]

    TrackerThread(root, "small", connect=connect, log_models=log_models).catch_up()
    return bool(asked)


def test_a_grid_with_nothing_to_run_leaves_mlflow_alone_if_it_has_everything(root: Path) -> None:
    cells = small(root, 4)
    assert caught_up(root)
    assert_up_to_date(root, cells)
    assert not caught_up(root)
    assert caught_up(root, log_models=True)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_since_is_sent(root: Path, change: str) -> None:
    cells = small(root, 4)
    ask = partial(caught_up, root, new=lambda _: NullTracker())
    assert ask()
    assert not ask()
    CHANGES[change](root, cells)
    assert ask()


def test_a_storage_that_cannot_be_written_is_brought_up_to_date_without_a_receipt(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = small(root, 4)
    (root / "grids" / ".sync").write_text("in the way, as a read-only disk would be")
    assert caught_up(root)
    assert caught_up(root)
    assert_up_to_date(root, cells)
    assert not caplog.records


class Forgetful:
    """MLflow's client, but the answers to the first few calls of one kind are lost."""

    def __init__(self, client: Any, call: str, left: list[int], *, done: bool) -> None:
        self._client, self._call, self._left, self._done = client, call, left, done

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name != self._call or not self._left:
            return method

        def spoiled(*args: Any, **kwargs: Any) -> Any:
            self._left.pop()
            if self._done:
                method(*args, **kwargs)
            raise OSError("the answer is lost")

        return spoiled


def lossy_tracker(root: Path, call: str, left: list[int], *, done: bool) -> Tracker:
    tracker: Any = new_tracker(root)
    tracker._mlflow.client = Forgetful(tracker._mlflow.client, call, left, done=done)
    return tracker  # type: ignore[no-any-return]


CALLS = (
    "create_experiment",
    "create_run",
    "log_batch",
    "set_terminated",
    "log_inputs",
)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("done", [True, False])
def test_lost_answers_and_lost_requests_double_nothing(root: Path, call: str, done: bool) -> None:
    cells, left = small(root, 4), [0] * 4
    for _ in range(5):
        with contextlib.suppress(BackendError):
            sync(root, "small", lossy_tracker(root, call, left, done=done))
    assert len(left) <= 3  # something was lost
    assert sync(root, "small", new_tracker(root)).points == 0
    assert_up_to_date(root, cells)


def test_a_drop_whose_answer_is_lost_leaves_one_run(root: Path) -> None:
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    for name in ("DONE.json", "history.jsonl"):
        (root / "cells" / cells[0].cell_id("d" * 64) / name).unlink()
    finish(root, cells[0], 90, start=START + 9000)
    with pytest.raises(BackendError):
        sync(root, "small", lossy_tracker(root, "delete_run", [0], done=True))
    sync(root, "small", new_tracker(root))
    assert len(runs_of(root)) == 7
    assert runs_of(root)[cell_name(cells[0])].data.metrics["accuracy"] == 90


def test_a_run_that_a_server_made_long_after_it_was_asked_is_dropped(root: Path) -> None:
    from mlflow import MlflowClient

    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    client, runs = MlflowClient(default_uri(root)), runs_of(root)
    for name in ("small", "curvenet", cell_name(cells[3])):
        info, tags = runs[name].info, dict(runs[name].data.tags)
        tags.pop("curvetune.sent", None)  # that of a grid has none
        client.create_run(info.experiment_id, info.start_time + 1, tags, name)
    with pytest.raises(AssertionError):
        runs_of(root)  # a name is there twice
    sync(root, "small", new_tracker(root))
    assert_up_to_date(root, cells)


class SlowToCreate:
    """MLflow's client, which takes its time between "is there a run?" and "make one"."""

    def __init__(self, client: Any, created: list[str]) -> None:
        self._client, self._created = client, created

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_run(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)
        self._created.append(kwargs["run_name"])
        return self._client.create_run(*args, **kwargs)


def test_two_drivers_of_a_grid_make_every_run_and_point_once(root: Path) -> None:
    cells, created = small(root, 0), list[str]()

    def connect() -> Tracker:
        tracker: Any = new_tracker(root)
        tracker._mlflow.client = SlowToCreate(tracker._mlflow.client, created)
        return tracker  # type: ignore[no-any-return]

    with (
        TrackerThread(root, "small", every_s=0.01, connect=connect),
        TrackerThread(root, "small", every_s=0.01, connect=connect),
    ):
        for k, cell in enumerate(cells):
            if cell.method.needs_probe:
                add_probe_epochs(root, cell, 2)
                time.sleep(0.2)
            finish(root, cell, 60 + k, start=START + 100 * k)
            time.sleep(0.2)
    assert_up_to_date(root, cells)
    assert len(created) == len(set(created)) == 7


def test_the_turn_is_one_process_at_a_time_and_says_whether_others_had_it(root: Path) -> None:
    mine, other = Turns(root, "small"), Turns(root, "small")
    with mine.turn() as alone:
        assert not alone  # nobody knows what was before
        with pytest.raises(BusyError), other.turn(wait_s=0.3):
            pass
    with mine.turn() as alone:
        assert alone
    with other.turn(), Turns(root, "another").turn():
        pass
    with mine.turn() as alone:
        assert not alone


def test_an_end_that_does_not_get_its_turn_leaves_it_to_the_other_driver(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(root, 1)
    with leased(root / "grids" / ".sync" / "small"):
        with TrackerThread(root, "small", every_s=0.05, end_s=1):
            time.sleep(0.2)
            began = time.monotonic()
        assert time.monotonic() - began < 6  # a busy machine too
    (told,) = [record.getMessage() for record in caplog.records]
    assert "MLflow is left to another process" in told
    assert "`curvetune sync small`" in told


def test_a_storage_that_cannot_be_written_is_synced_all_the_same(root: Path) -> None:
    cells = small(root, 4)
    (root / "grids" / ".sync").write_text("in the way, as a read-only disk would be")
    sync(root, "small", new_tracker(root))
    assert_up_to_date(root, cells)


def test_requests_are_few_and_none_is_larger_than_mlflow_takes(root: Path) -> None:
    class Counting:
        def __init__(self, tracker: Any) -> None:
            self._tracker, self.sizes = tracker, list[int]()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tracker, name)

        def log(self, run: Any, points: Any, tags: Any) -> None:
            self.sizes.append(len(points) + len(tags))
            self._tracker.log(run, points, tags)

    many = {"epochs": 600, "cyclic_start": 2, "half_period": 1}
    cells = [
        CellConfig.model_validate(cell.model_dump(mode="json") | {"probe": many})
        for cell in the_cells([CROSS, CURVE])
    ]
    write_grid(root, cells)
    add_probe_epochs(root, cells[1], 600)
    finish(root, cells[1], 61, per_class_accuracy=[50.0] * 1100)
    tracker: Any = Counting(new_tracker(root))
    sync(root, "small", tracker)
    assert max(tracker.sizes) <= 1000
    assert sum(size > 100 for size in tracker.sizes) == 2  # of 2 * 600 points and some
    points = points_of(root)
    assert not any(key.startswith("accuracy_class/") for _, key, *_ in points)  # a file has them
    assert sum(key == "probe/loss" for _, key, *_ in points) == 600
