import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from storage_fixtures import DIGEST, EPOCHS, add_epochs, fail, finish, make_cells, write_grid
from tracking_helpers import new_tracker, runs_of
from typer.testing import CliRunner

from curvetune.cli import report
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import GridReader, read_grid
from curvetune.status.failures import MAX_DETAILED, mlflow_run
from curvetune.status.table import print_status, progress_json
from curvetune.status.watch import watch
from curvetune.store import CellStore
from curvetune.store.lease import leased
from curvetune.tracking.base import CELL_TAG, DATABASE
from curvetune.tracking.lookup import find_run
from curvetune.tracking.sync.thread import sync

HOLD = """
import sys, time
from pathlib import Path
from curvetune.store.lease import leased
with leased(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def cells() -> list[CellConfig]:
    """Three cells of cross entropy."""
    return make_cells(
        [{"name": "cross-entropy"}], imbalances=(1,), noise_rates=(0.4,), seeds=(0, 1, 2)
    )


@pytest.fixture
def root(tmp_path: Path, cells: list[CellConfig]) -> Path:
    write_grid(tmp_path, cells)
    return tmp_path


def folder(root: Path, cell: CellConfig) -> Path:
    return CellStore(root).folder(cell.cell_id(DIGEST))


def steps(*actions: Callable[[], Any]) -> Callable[[float], None]:
    """What happens while one waits: an action each time, and in the end Ctrl-C."""
    left = list(actions)

    def wait(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return wait


def watched(root: Path, *actions: Callable[[], Any], terminal: bool = False, **named: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, height=40)
    watch(root, "small", every_s=1, console=console, wait=steps(*actions), **named)
    return out.getvalue()


def states(root: Path) -> list[str]:
    return [cell.state for cell in read_grid(root, "small").cells]


def test_it_ends_when_every_cell_is_done_or_has_failed(root: Path, cells: list[CellConfig]) -> None:
    text = watched(
        root,
        lambda: finish(root, cells[0], 70),
        lambda: fail(root, cells[1]),
        lambda: finish(root, cells[2], 80),
        lambda: pytest.fail("it looked once more"),
    )
    told = [line[9:] for line in text.splitlines() if line[2:3] == ":"]
    assert told[1].startswith("done 1/3: cross-entropy, imbalance 1, noise 0.4, seed 0: 70.00 %")
    assert told[2].startswith("failed: cross-entropy, imbalance 1, noise 0.4, seed 1 (cell")
    assert "small: 3 cells: 2 done, 1 failed\nto try them again: curvetune retry small\n" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_ends_it_in_order(root: Path, cells: list[CellConfig], terminal: bool) -> None:
    text = watched(root, lambda: finish(root, cells[0], 70), terminal=terminal)
    assert "small: 3 cells: 1 done, 2 waiting" in text.splitlines()[-1]


def test_a_grid_that_nobody_runs_says_so_and_how_to_go_on(
    root: Path, cells: list[CellConfig]
) -> None:
    def begin() -> None:
        with leased(folder(root, cells[0])):
            add_epochs(root, cells[0], 2)

    text = watched(root, begin)
    assert "no living process works on a cell now; unless a command is just starting" in text
    assert "works on a cell now (1 begun and left)" in text
    assert "go on with: curvetune grid small" in text


def test_on_a_terminal_it_is_a_table_with_that_note(root: Path, cells: list[CellConfig]) -> None:
    finish(root, cells[0], 70)
    text = watched(root, terminal=True)
    assert "MA so far" in text
    assert "no living process works on a cell now" in text


def test_a_cell_runs_as_long_as_its_process_lives_and_is_stale_thereafter(
    root: Path, cells: list[CellConfig]
) -> None:
    add_epochs(root, cells[0], 2)
    for path in folder(root, cells[0]).iterdir():
        os.utime(path, (1, 1))  # no news for long
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder(root, cells[0]))], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert states(root) == ["running", "waiting", "waiting"]
        process.send_signal(signal.SIGKILL)
    assert states(root) == ["stale", "waiting", "waiting"]
    progress = grid_progress(read_grid(root, "small"))
    assert progress.cells[0].words == f"stale at allocate 2/{EPOCHS}"
    found = progress_json(progress, root)
    assert found["counts"] == {"done": 0, "running": 0, "failed": 0, "stale": 1, "waiting": 2}
    assert (found["cells"][0]["holder"]["pid"], found["cells"][0]["holder"]["alive"]) == (
        process.pid,
        False,
    )


def test_a_failed_cell_that_somebody_tries_again_is_running(
    root: Path, cells: list[CellConfig]
) -> None:
    fail(root, cells[0])
    assert states(root)[0] == "failed"
    with leased(folder(root, cells[0])):
        assert states(root)[0] == "running"
    assert states(root)[0] == "failed"  # this try wrote nothing


def test_a_cell_that_another_command_runs_is_running_also_for_a_driver(
    root: Path, cells: list[CellConfig]
) -> None:
    add_epochs(root, cells[0], 1)
    add_epochs(root, cells[1], 1)
    later = time.time() + 5
    with leased(folder(root, cells[0])):
        seen = GridReader(root, "small", since=later).read()
    assert [cell.state for cell in seen.cells] == ["running", "waiting", "waiting"]


def test_a_reader_of_some_cells_sees_no_others(root: Path, cells: list[CellConfig]) -> None:
    only = {cells[1].cell_id(DIGEST)}
    assert [cell.cell_id for cell in GridReader(root, "small", only=only).read().cells] == [*only]


def test_a_damaged_history_is_no_history(root: Path, cells: list[CellConfig]) -> None:
    add_epochs(root, cells[0], 2)
    path = folder(root, cells[0]) / "history.jsonl"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert grid_progress(read_grid(root, "small")).cells[0].words == f"allocate 0/{EPOCHS}"


def test_what_cannot_be_read_for_a_moment_ends_nothing(
    root: Path, cells: list[CellConfig], caplog: pytest.LogCaptureFixture
) -> None:
    path = root / "grids" / "small.json"
    content = path.read_bytes()

    def damage() -> None:
        path.write_bytes(b"{")
        os.utime(path, (5, 5))

    with caplog.at_level(logging.WARNING):
        text = watched(root, damage, lambda: path.write_bytes(content))
    assert "the progress cannot be read" in caplog.text
    assert text.splitlines()[-1] == "small: 3 cells: 3 waiting"


def test_as_json_it_prints_a_line_for_each_look(
    root: Path, cells: list[CellConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    watched(root, lambda: finish(root, cells[0], 70), as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["counts"]["done"] for line in lines] == [0, 1]
    assert all(line["schema_version"] == 1 for line in lines)
    assert "curvetune grid small" in lines[0]["note"]


def test_a_wrong_grid_is_refused(root: Path) -> None:
    app = typer.Typer()
    app.command()(report.status)
    for arguments, message in (
        (["smal", "--watch"], r"unknown grid 'smal' \(did you mean 'small'\?\)"),
        (["--watch"], "--watch needs a GRID"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(app, [*arguments, "--storage", str(root)], catch_exceptions=False)


def test_the_command_follows_until_ctrl_c_and_exits_with_0(
    root: Path, cells: list[CellConfig]
) -> None:
    code = "from curvetune.cli import main; main()"
    options = ["status", "small", "--watch", "--every", "0.2", "--storage", str(root)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *options], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "small: 3 cells: 3 waiting\n"
        assert "no living process" in process.stdout.readline()
        finish(root, cells[0], 70)
        assert "done 1/3" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "small: 3 cells: 1 done, 2 waiting\n"
        assert process.wait() == 0


def test_watching_changes_nothing(root: Path, cells: list[CellConfig]) -> None:
    finish(root, cells[0], 70)
    with leased(folder(root, cells[1])):
        before = sorted(root.rglob("*"))
        watched(root)
        assert sorted(root.rglob("*")) == before


def status(root: Path) -> str:
    out = io.StringIO()
    print_status(grid_progress(read_grid(root, "small")), Console(file=out, width=200), root)
    return out.getvalue()


def test_a_failed_cell_is_shown_with_kind_log_and_how_to_find_and_retry_it(
    root: Path, cells: list[CellConfig]
) -> None:
    cell_id = cells[0].cell_id(DIGEST)
    log = "\n".join(f"line {k}" for k in range(20))
    CellStore(root).fail(cell_id, "HangError: no epoch ended", log, kind="hang")
    CellStore(root).fail(cells[1].cell_id(DIGEST), "DivergedError: NaN", "log", kind="diverged")
    text = status(root)
    assert f"seed 0 (cell {cell_id}, hang): HangError: no epoch ended" in text
    assert "line 19" in text
    assert "line 9\n" not in text
    assert f"in experiment small, search for tags.`curvetune.cell_id` = '{cell_id}'" in text
    assert "to try them again: curvetune retry small\n" in text
    assert "or some of them: --failed-as KIND, of hang, diverged" in text


def test_of_many_failed_cells_only_the_first_are_shown_with_their_log(tmp_path: Path) -> None:
    cells = make_cells([{"name": "cross-entropy"}], seeds=range(3))
    write_grid(tmp_path, cells)
    for cell in cells:
        fail(tmp_path, cell)
    text = status(tmp_path)
    assert text.count("(cell ") == len(cells) > MAX_DETAILED
    assert text.count("which ends with") == MAX_DETAILED
    assert "`curvetune why CELL` says as much of the others" in text


def test_the_run_of_a_failed_cell_is_found_in_the_database_of_the_storage(
    root: Path, cells: list[CellConfig]
) -> None:
    fail(root, cells[0])
    write_grid(root, cells, name="other")  # the same cell, in another experiment
    for grid in ("other", "small"):
        sync(root, grid, new_tracker(root))
    (run,) = [
        run
        for run in runs_of(root).values()
        if run.data.tags.get(CELL_TAG) == cells[0].cell_id(DIGEST)
    ]
    found = mlflow_run(root, "small", cells[0].cell_id(DIGEST))
    assert found["run_id"] == run.info.run_id
    assert found["page"] == f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f"run {run.info.run_id}, at http://127.0.0.1:5000/#/experiments/" in status(root)
    assert find_run(root / DATABASE, "small", CELL_TAG, "0" * 16) is None


def test_a_database_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a % b?.db"
    for content in (b"", b"no database at all" * 100):
        path.write_bytes(content)
        assert find_run(path, "small", CELL_TAG, "0" * 16) is None
    assert find_run(tmp_path / "missing.db", "small", CELL_TAG, "0" * 16) is None
    assert not (tmp_path / "missing.db").exists()
