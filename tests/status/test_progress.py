import io
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from storage_fixtures import (
    DIGEST,
    EPOCHS,
    SECONDS,
    add_epochs,
    add_probe_epochs,
    begin,
    fail,
    finish,
    make_cells,
    shift,
    store_probe,
    write_grid,
)

from curvetune.config import CellConfig
from curvetune.grids.activity import GridProgress, Progress, grid_progress
from curvetune.grids.cells import STALE_S, GridReader, read_grid
from curvetune.status.live import Lines, LiveProgress, Screen
from curvetune.status.table import live_view, print_status, progress_json
from curvetune.store import CellStore
from curvetune.system.units import duration

CROSS: dict[str, Any] = {"name": "cross-entropy"}
CURVE: dict[str, Any] = {"name": "curvenet"}


@pytest.fixture
def cells() -> list[CellConfig]:
    """One setting: cross entropy and two cells that share a probe."""
    methods = [CROSS, {**CURVE, "skip_layers": 0}, {**CURVE, "skip_layers": 3}]
    return make_cells(methods, imbalances=(1,), noise_rates=(0.4,), seeds=(0,))


@pytest.fixture
def root(tmp_path: Path, cells: list[CellConfig]) -> Path:
    write_grid(tmp_path, cells)
    return tmp_path


def look(root: Path, now: float | None = None) -> GridProgress:
    return grid_progress(read_grid(root, "small"), now)


def states(root: Path) -> list[tuple[str, str]]:
    return [(p.cell.state, p.words) for p in look(root).cells]


def only(progress: GridProgress, state: str) -> Progress:
    (found,) = progress.of(state)
    return found


def printed(progress: GridProgress, root: Path) -> str:
    out = io.StringIO()
    print_status(progress, Console(file=out, width=120), root)
    return out.getvalue()


def test_before_the_start_one_cell_of_each_probe_waits_for_a_slot(root: Path) -> None:
    assert states(root) == [
        ("waiting", "waiting"),
        ("waiting", "waiting"),
        ("waiting", "waiting for its probe"),
    ]


def test_a_cell_in_its_probe_shows_the_probes_epochs(root: Path, cells: list[CellConfig]) -> None:
    begin(root, cells[1])
    assert states(root)[1] == ("running", f"probe 0/{EPOCHS}")
    add_probe_epochs(root, cells[1], 3)
    assert states(root)[1:] == [
        ("running", f"probe 3/{EPOCHS}"),
        ("waiting", "waiting for its probe"),
    ]


def test_followers_wait_for_a_slot_once_the_probe_is_stored(
    root: Path, cells: list[CellConfig]
) -> None:
    add_probe_epochs(root, cells[1], EPOCHS)
    store_probe(root, cells[1])
    assert states(root)[1:] == [("running", f"allocate 0/{EPOCHS}"), ("waiting", "waiting")]


def test_a_cell_in_its_final_training_shows_epoch_accuracy_and_time_left(
    root: Path, cells: list[CellConfig]
) -> None:
    now = time.time()
    add_epochs(root, cells[0], 3, accuracy=61.5, start=now - 3 * SECONDS)
    running = only(look(root, now), "running")
    assert (running.words, running.epoch, running.epochs) == (f"allocate 3/{EPOCHS}", 3, EPOCHS)
    assert running.accuracy == 61.5
    assert running.seconds_left == pytest.approx((EPOCHS - 3) * SECONDS)


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_the_clock_of_the_host_that_trains_does_not_enter_an_estimate(
    root: Path, cells: list[CellConfig], ahead_s: float
) -> None:
    now = time.time()
    add_epochs(root, cells[0], 3, start=now - 3 * SECONDS + ahead_s)
    for name in ("config.json", "history.jsonl"):  # by the storage's clock
        shift(CellStore(root).folder(cells[0].cell_id(DIGEST)) / name, -SECONDS / 2)
    left = only(look(root, now), "running").seconds_left
    assert left == pytest.approx((EPOCHS - 3.5) * SECONDS, abs=SECONDS / 10)


def test_the_clock_of_the_host_that_looks_makes_no_cell_longer_than_it_is(
    root: Path, cells: list[CellConfig]
) -> None:
    finish(root, cells[0], 70)
    begin(root, cells[1])
    add_probe_epochs(root, cells[1], EPOCHS)
    store_probe(root, cells[1])
    an_hour_ago = time.time() - 3600
    assert only(look(root, an_hour_ago), "running").seconds_left == pytest.approx(EPOCHS * SECONDS)


def test_a_finished_cell_is_done(root: Path, cells: list[CellConfig]) -> None:
    finish(root, cells[0], 70)
    assert states(root)[0] == ("done", "done")
    assert look(root).cells[0].accuracy == 70


def test_a_failed_cell_tells_why_until_it_is_begun_again(
    root: Path, cells: list[CellConfig]
) -> None:
    fail(root, cells[0], "ValueError: no [luck]")
    assert only(look(root), "failed").cell.error == "ValueError: no [luck]"
    assert "ValueError: no [luck]" in printed(look(root), root)
    shift(begin(root, cells[0]) / "config.json", 2)
    assert states(root)[0] == ("running", f"allocate 0/{EPOCHS}")


def test_a_leader_that_failed_stays_failed_while_another_runs_its_probe(
    root: Path, cells: list[CellConfig]
) -> None:
    fail(root, cells[1])
    add_probe_epochs(root, cells[2], 1)
    shift(CellStore(root).root / "probes" / str(cells[1].probe_id(DIGEST)) / "history.jsonl", 5)
    assert [state for state, _ in states(root)[1:]] == ["failed", "running"]


def test_a_cell_without_news_is_taken_to_have_been_stopped(
    root: Path, cells: list[CellConfig]
) -> None:
    add_epochs(root, cells[0], 2)
    for path in CellStore(root).folder(cells[0].cell_id(DIGEST)).iterdir():
        shift(path, -STALE_S - 1)
    assert states(root)[0] == ("stale", f"stale at allocate 2/{EPOCHS}")


def test_a_reader_sees_another_command_for_its_grid(root: Path, cells: list[CellConfig]) -> None:
    reader, last = GridReader(root, "small"), GridReader(root, "small@last")
    assert len(last.read().cells) == 3
    assert [cell.label for cell in reader.read().cells] == [
        "cross-entropy",
        "curvenet skip_layers=0",
        "curvenet skip_layers=3",
    ]
    write_grid(root, cells[:2])
    assert len(reader.read().cells) == 3
    assert [cell.label for cell in last.read().cells] == ["cross-entropy", "curvenet"]


def test_what_was_left_by_an_earlier_command_waits_until_it_is_begun_again(
    root: Path, cells: list[CellConfig]
) -> None:
    add_epochs(root, cells[0], 2)
    fail(root, cells[1])
    later = GridReader(root, "small", since=time.time() + 5).read()
    assert [cell.state for cell in later.cells] == ["waiting"] * 3


def test_the_time_left_of_a_grid_counts_cells_to_come_on_as_many_slots_as_now(
    tmp_path: Path,
) -> None:
    now = time.time()
    cells = make_cells([CROSS], imbalances=(1, 10), noise_rates=(0.0, 0.4), seeds=(0, 1))
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 70)
    for cell in cells[1:3]:
        add_epochs(tmp_path, cell, 2, start=now - 2 * SECONDS)
    a_cell = EPOCHS * SECONDS
    half = 2 * SECONDS
    assert look(tmp_path, now).seconds_left == pytest.approx((2 * half + 5 * a_cell) / 2)


def test_the_time_left_is_not_known_while_nothing_runs(root: Path, cells: list[CellConfig]) -> None:
    finish(root, cells[0], 70)
    assert look(root).seconds_left is None


def test_the_time_left_in_a_probe_includes_the_training_after_it(
    root: Path, cells: list[CellConfig]
) -> None:
    now = time.time()
    finish(root, cells[0], 70)
    add_probe_epochs(root, cells[1], 1, start=now - SECONDS)
    running = only(look(root, now), "running")
    assert running.seconds_left == pytest.approx((EPOCHS - 1) * SECONDS + EPOCHS * SECONDS)


def test_status_as_json_says_what_the_table_says(root: Path, cells: list[CellConfig]) -> None:
    add_epochs(root, cells[0], 1)
    found = progress_json(look(root), root)
    assert found["schema_version"] == 1
    assert found["counts"] == {"done": 0, "running": 1, "failed": 0, "stale": 0, "waiting": 2}
    assert (
        found["cells"][0] | {"state": "running", "stage": "allocate", "epoch": 1}
        == (found["cells"][0])
    )


def test_the_live_table_shows_at_most_so_many_cells_and_says_how_many_more(tmp_path: Path) -> None:
    cells = make_cells([CROSS], imbalances=(1, 10), noise_rates=(0.0, 0.4))
    write_grid(tmp_path, cells)
    for cell in cells[:5]:
        begin(tmp_path, cell)
    fail(tmp_path, cells[5], "RuntimeError: boom")
    out = io.StringIO()
    Console(file=out, width=120).print(live_view(look(tmp_path), rows=3))
    text = out.getvalue()
    assert text.count("allocate 0/4") == 3
    assert "and 2 more" in text
    assert "RuntimeError: boom" in text
    assert "8 cells: 5 running, 1 failed, 2 waiting" in text


def test_the_live_table_is_drawn_at_every_look(root: Path) -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=True, width=100, height=40))
    for _ in range(2):
        file.truncate(0)
        screen.show(look(root))
        assert "3 waiting" in file.getvalue()
    screen.close()


def test_lines_tell_each_change_once_and_progress_now_and_then(
    root: Path, cells: list[CellConfig]
) -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=60))
    lines.show(look(root), now=0)
    add_epochs(root, cells[0], 1)
    lines.show(look(root), now=1)
    lines.show(look(root), now=2)
    lines.show(look(root), now=31)
    finish(root, cells[0], 70)
    fail(root, cells[1])
    lines.show(look(root), now=32)
    name = "cross-entropy, imbalance 1, noise 0.4, seed 0"
    told = [line.partition(" ")[2] for line in out.getvalue().splitlines()]
    assert told[0] == f"started: {name}"
    assert told[1].startswith("small: 3 cells: 1 running, 2 waiting")
    assert told[1].endswith(f"[{name}: allocate 1/{EPOCHS}, 50.00 %]")
    assert told[2] == f"done 1/3: {name}: 70.00 % in 8 s"
    assert told[3].startswith("failed: curvenet skip_layers=0, imbalance 1")
    assert len(told) == 4


@pytest.fixture
def fast_end() -> Iterator[float]:
    start = time.monotonic()
    yield start
    assert time.monotonic() - start < 12


@pytest.mark.usefixtures("fast_end")
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_while_a_block_runs_and_its_end_is_told(
    root: Path, cells: list[CellConfig], terminal: bool
) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with LiveProgress(root, "small", console):
        begin(root, cells[0])
        time.sleep(1.5)
        finish(root, cells[0], 70)
    assert "cross-entropy" in out.getvalue()
    assert ("1 done" if terminal else "done 1/3") in out.getvalue()


@pytest.mark.usefixtures("fast_end")
def test_a_driver_whose_clock_is_an_hour_ahead_tells_of_a_cell_that_fails(
    root: Path, cells: list[CellConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    out = io.StringIO()
    with LiveProgress(root, "small", Console(file=out, width=120)):
        fail(root, cells[0], "ValueError: no luck")
        os.utime(CellStore(root).folder(cells[0].cell_id(DIGEST)) / "FAILED.json")
    assert "ValueError: no luck" in out.getvalue()


@pytest.mark.usefixtures("fast_end")
def test_progress_that_cannot_be_read_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        LiveProgress(tmp_path, "nothing", Console(file=io.StringIO())),
    ):
        time.sleep(1.5)
    assert [r.getMessage() for r in caplog.records if "unknown grid" in r.getMessage()]
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("fast_end")
def test_an_error_in_the_block_goes_through(root: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="boom"),
        LiveProgress(root, "small", Console(quiet=True)),
    ):
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.4, "0.4 s"),
        (0, "0 s"),
        (9.96, "10 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3599, "1 h 00 min"),
        (5000, "1 h 23 min"),
    ],
)
def test_durations_are_told_as_people_do(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
