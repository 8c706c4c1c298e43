"""`curvetune tune` through Ray: killed, gone on with, and extended, all by the same command."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grids
import pytest

from curvetune import data
from curvetune.config import CellConfig
from curvetune.grids.cells import read_grid
from curvetune.grids.splits import stored_split
from curvetune.planning.space import load_space
from curvetune.store import CellStore

SPACE = """
base:
  data: {name: digits, per_class_limit: 12, test_limit: 20}
  bias: {noise: symmetric, noise_rate: 0.4}
  model: {name: resnet8}
  allocate: {epochs: 2, batch_size: 32, milestones: [], warmup: 0}
grid:
  seed: [0]
  method: [{name: cross-entropy}, {name: gce}]
"""


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "curvetune", "tune", str(folder / "tiny.yaml"), "--json"]
    return subprocess.Popen(
        [*command, "--storage", str(folder / "storage"), "--test-seeds", "1", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def published(folder: Path) -> dict[str, int]:
    files = (folder / "storage" / "cells").glob("*/DONE.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in files}


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_ends_with_a_space_of_its_winners(
    tmp_path: Path,
) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    first = start(tmp_path, "--budget", "3")
    deadline = time.monotonic() + 150
    while not published(tmp_path) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    grids.kill_tree(first.pid)
    output = first.communicate(timeout=60)
    before = published(tmp_path)
    assert before, output
    won = tmp_path / "won.yaml"
    again = start(tmp_path, "--budget", "4", "--space", str(won))
    stdout, stderr = again.communicate(timeout=200)
    assert again.returncode == 0, stderr
    found = json.loads(stdout)
    assert [len(one["trials"]) for one in found["methods"]] == [1, 4]
    assert found["test_seeds"] == [1]
    after = published(tmp_path)
    assert {cell: after[cell] for cell in before} == before  # none ran twice
    storage, digest = tmp_path / "storage", data.digest("digits")
    trials = read_grid(storage, "tiny-tuning").cells
    assert len(trials) == 5
    for cell in trials:
        assert cell.setting.data.endswith("validation=0.1")
        split = stored_split(storage, CellConfig.model_validate(cell.config), digest)
        assert len(split.test) == 0
        assert split.validation is not None
        assert len(split.validation) == 12
    of_gce = found["methods"][1]
    best = max(trial["validation"] for trial in of_gce["trials"])
    assert of_gce["trials"][of_gce["best_trial"]]["validation"] == best
    store = CellStore(storage)
    ids = [cell.cell_id(digest) for cell in load_space(str(won)).cells]
    assert [store.result(cell_id)["accuracy"] for cell_id in ids if store.result(cell_id)] == [
        one["tuned"] for one in found["methods"]
    ]
