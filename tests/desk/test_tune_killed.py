"""`curvetune tune` through Ray: killed, gone on with, and extended, all by the same command.

The source of its images raises when anybody looks at the test set, until a file says that it may.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grids
import pytest

from curvetune.grids.cells import read_grid

SPACE = """
plugins: [closed.py]
base:
  data: {name: closed, per_class_limit: 12, test_limit: 20}
  bias: {noise: symmetric, noise_rate: 0.4}
  model: {name: resnet8}
  allocate: {epochs: 2, batch_size: 32, milestones: [], warmup: 0}
grid:
  seed: [0]
  method: [{name: cross-entropy}, {name: gce}]
"""
PLUGIN = '''
"""Digits, whose test set is closed."""
import sys
from dataclasses import replace
from pathlib import Path

from curvetune import data
from curvetune.data.source import ClassSizes, Images
from curvetune.plugins import source

__version__ = "1"
OPEN = Path(__file__).with_name("open")


def check(what):
    if not OPEN.exists():
        raise AssertionError(f"the test set is closed: {what}")


class Closed(Images):
    def __getattribute__(self, name):
        if name in ("x", "y") and sys._getframe(1).f_code.co_name != "flaw":
            check(name)  # but for the check that a plugin gives arrays of the right type
        return super().__getattribute__(name)


@source("closed")
class ClosedDigits:
    def load(self, data_dir):
        found = data.load("digits")
        return replace(found, test=Closed(found.test.x, found.test.y))

    def train_labels(self, data_dir):
        return data.load("digits").train.y

    def sizes(self, data_dir):
        check("sizes")
        found = data.load("digits")
        return ClassSizes.of(found.train.y, found.test.y, found.num_classes)

    def digest(self, data_dir):
        return "c" * 64
'''


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
def test_a_killed_search_goes_on_and_reads_the_test_set_when_it_has_ended(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    (tmp_path / "closed.py").write_text(PLUGIN)
    first = start(tmp_path, "--budget", "3")
    deadline = time.monotonic() + 150
    while not published(tmp_path) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    grids.kill_tree(first.pid)
    output = first.communicate(timeout=60)
    before = published(tmp_path)
    assert before, output

    won = tmp_path / "won.yaml"
    words = ("--budget", "4", "--space", str(won))
    closed = start(tmp_path, *words)
    _, stderr = closed.communicate(timeout=200)
    assert closed.returncode == 2, stderr
    assert "the search has ended; now the test set is read for the first time" in stderr
    assert "the test set is closed" in stderr
    searched = published(tmp_path)
    assert len(searched) == 1 + 4
    assert {cell: searched[cell] for cell in before} == before  # none ran twice

    (tmp_path / "open").touch()
    last = start(tmp_path, *words)
    stdout, stderr = last.communicate(timeout=200)
    assert last.returncode == 0, stderr
    after = published(tmp_path)
    assert {cell: after[cell] for cell in searched} == searched
    found = json.loads(stdout)
    assert found["test_seeds"] == [1]
    ce, gce = found["methods"]
    assert [len(one["trials"]) for one in (ce, gce)] == [1, 4]
    best = max(trial["validation"] for trial in gce["trials"])
    assert gce["trials"][gce["best_trial"]]["validation"] == best
    tested = read_grid(tmp_path / "storage", "tiny-tuned").cells
    assert ce["tuned"] == next(c.accuracy() for c in tested if c.name == "cross-entropy")
    assert {c.accuracy() for c in tested if c.name == "gce"} == {gce["default"], gce["tuned"]}
    assert "name: tiny-winners" in won.read_text()
