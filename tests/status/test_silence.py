"""Whoever waits is told for what: from the first second of a grid to its last one."""

import io
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from storage_fixtures import begin, finish, make_cells, write_grid

from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import read_grid
from curvetune.status.live import Lines, LiveProgress, Screen

LONGEST_S = 10.0  # three are meant; PyTorch's import lets no thread run, and CI is slow


def told(out: io.StringIO) -> list[str]:
    """Return the lines without the clock that each begins with."""
    return [line.partition(" ")[2] for line in out.getvalue().splitlines()]


def test_a_stage_is_told_at_once_and_then_every_other_second_with_its_time(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    progress = grid_progress(read_grid(tmp_path, "small"))
    out = io.StringIO()
    lines = Lines(Console(file=out, width=60))
    for second in range(6):
        lines.show(progress, "starting Ray" if second < 5 else "starting workers", now=second)
    expected = ["starting Ray", "starting Ray (2 s)", "starting Ray (4 s)", "starting workers"]
    assert told(out) == expected


def test_a_terminal_shows_the_stage_and_its_time(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    progress = grid_progress(read_grid(tmp_path, "small"))
    out = io.StringIO()
    screen = Screen(Console(file=out, force_terminal=True, width=100, height=40))
    screen.show(progress, "starting Ray")
    time.sleep(1.1)
    screen.show(progress, "starting Ray")
    screen.close()
    assert "starting Ray (1 s)" in out.getvalue()


@pytest.mark.timeout(60)
def test_the_stage_before_the_first_cell_is_over_when_one_runs_and_the_last_one_is_told(
    tmp_path: Path,
) -> None:
    cells = make_cells(imbalances=(1,), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path, cells)
    out, stage = io.StringIO(), ["starting workers"]
    with LiveProgress(tmp_path, "small", Console(file=out, width=90), stage=lambda: stage[0]):
        time.sleep(1.2)
        begin(tmp_path, cells[0])
        time.sleep(1.2)
        finish(tmp_path, cells[0], 70)
        time.sleep(2.5)
        stage[0] = "leaving Ray"
    words = [re.sub(r" \(\d+ s\)", "", line) for line in told(out)]
    assert words[0] == "starting workers"
    began = next(k for k, line in enumerate(words) if line.startswith("started: "))
    assert "starting workers" not in words[began:]
    assert words[-1] == "leaving Ray"


@pytest.mark.ray
@pytest.mark.slow
def test_a_grid_from_a_cold_start_is_never_silent_and_its_next_commands_work(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "my results"
    command = [sys.executable, "-m", "curvetune"]
    grid = [*command, "grid", "digits", "--profile", "smoke", "--seeds", "0"]
    one_cell = ["--methods", "cross-entropy", "--set", "imbalance=1", "--set", "noise_rate=0.4"]
    one_cell += ["--set", "allocate.epochs=20"]  # else it is over before anybody looks
    gaps, said, out = listened([*grid, *one_cell, "--storage", str(storage)], tmp_path)
    assert max(gaps) < LONGEST_S, said
    # Ray starts beside the preparing, so nobody may have to wait for it
    stages = ["preparing", "starting workers", "started: ", "done 1/1", "results: "]
    places = [said.index(stage) for stage in stages]
    assert places == sorted(places)
    assert not any(stage in out for stage in stages)
    typed = [line for line in said.splitlines() if line.startswith("  curvetune ")]
    report, suspects, last = (shlex.split(line, comments=True)[1:] for line in typed)
    assert last == ["ui", "--storage", str(storage)]
    assert report[:3] == ["report", "digits", "--html"]
    done = subprocess.run([*command, *suspects], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def listened(command: list[str], folder: Path) -> tuple[list[float], str, str]:
    """Run a command; return the times between what it wrote to stderr, and all that it wrote."""
    out = folder / "stdout"
    with (
        out.open("wb") as file,
        subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.PIPE) as process,
    ):
        assert process.stderr is not None
        gaps, said, last = [], b"", time.monotonic()
        while content := os.read(process.stderr.fileno(), 65536):
            gaps.append(time.monotonic() - last)
            said, last = said + content, time.monotonic()
    assert process.returncode == 0, said.decode()
    return gaps, said.decode(), out.read_text(encoding="utf-8")
