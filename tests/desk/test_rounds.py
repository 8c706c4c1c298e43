"""`curvetune decide` runs rounds: each adds its seeds to the grid of the two methods."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trained_grid import GRID, train_grid

from curvetune.analysis.sequence import FEWEST
from curvetune.grids.cells import read_grid
from curvetune.planning.more_seeds import duel_name

A, B = "cross-entropy", "gce"


def decide(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "curvetune", "decide", A, B, "--in", GRID, *words]
    return subprocess.run(
        [*command, "--storage", str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=True,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_each_round_adds_its_seeds_and_records_no_more_than_them(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    known = train_grid(root, methods=({"name": A}, {"name": B}), rates=(0.4,))
    rounds_of_one_seed = 2
    new_cells = 2 * (FEWEST + rounds_of_one_seed) - len(known)
    done = decide(root, "--margin", "0.01", "--budget", str(new_cells), "--json")
    found = json.loads(done.stdout)
    assert [one["seed"] for one in found["seeds"]] == list(range(FEWEST + rounds_of_one_seed))
    assert found["verdict"] == "open"
    assert "the next round has 2 cells, for which --budget has no room" in done.stderr
    name = duel_name(GRID, A, B)
    records = [json.loads(p.read_bytes()) for p in (root / "grids/commands" / name).glob("*.json")]
    assert sorted(len(one["cells"]) for one in records) == [2, 2, 2 * FEWEST]
    grid = read_grid(root, name)
    assert len(grid.cells) == 2 * (FEWEST + rounds_of_one_seed)
    for one in found["seeds"]:
        of_a, of_b = (
            next(c for c in grid.cells if (c.seed, c.label) == (one["seed"], label))
            for label in (A, B)
        )
        assert one["difference"] == pytest.approx(of_b.accuracy() - of_a.accuracy())
