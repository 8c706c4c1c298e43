"""The whole way through Ray: suspects, corrections, relabel, and what that gains."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
from relabel_helpers import METHOD, files, write
from trained_grid import GRID, train_grid
from typer.testing import CliRunner

from curvetune import data
from curvetune.cli import app
from curvetune.grids.cells import read_grid
from curvetune.results import Results


@pytest.mark.ray
@pytest.mark.slow
def test_suspects_that_are_corrected_are_run_again_and_the_gain_is_reported(
    tmp_path: Path,
) -> None:
    root = tmp_path / "storage"
    cells = train_grid(root, methods=METHOD, rates=(0.0, 0.6), seeds=(0, 1, 2))
    rows: dict[int, int] = {}
    for cell in cells[3:]:
        frame = Results(root).suspects(cell.cell_id(data.digest("digits")))
        wrong = frame.filter(polars.col("is_wrong"))
        rows |= dict(zip(wrong["index"].to_list(), wrong["true_label"].to_list(), strict=True))
    labels = write(tmp_path / "fixed.csv", rows)
    before = files(root)

    found = in_a_process("relabel", GRID, labels, "--storage", root, "--json")
    done = json.loads(found.stdout)
    assert "6 cells, 3 done, 3 to run" in found.stderr
    assert done["cells_changed"] == 3
    assert [c["cell_id"] == c["before"] for c in done["cells"]] == [True] * 3 + [False] * 3
    (row,) = done["rows"]
    after = [cell.accuracy() for cell in read_grid(root, done["grid"]).cells]
    gains = np.subtract(after, [cell.accuracy() for cell in read_grid(root, GRID).cells])
    assert row["difference"] == pytest.approx(gains.mean())
    assert row["pairs"] == 6
    assert row["low"] < row["difference"] < row["high"]
    now = files(root)
    assert {path: now[path] for path in before} == before  # no old file changed

    labels.unlink()
    (copy,) = (root / "relabels").glob("*.csv")
    again = in_a_process("relabel", GRID, copy, "--storage", root, "--json")
    assert "all 6 cells are done; nothing to run" in again.stderr
    assert json.loads(again.stdout)["rows"] == done["rows"]

    known = ("--storage", str(root))
    for words in (["status", done["grid"]], ["report", done["grid"]]):
        assert CliRunner().invoke(app, [*words, *known]).exit_code == 0
    last = done["cells"][-1]
    why = CliRunner().invoke(app, ["why", last["cell_id"], *known])
    assert last["relabel"] in why.stdout
    suspects = CliRunner().invoke(app, ["suspects", last["cell_id"], *known, "--json"])
    assert json.loads(suspects.stdout)["wrong"] is None  # all were corrected
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database:
        names = {name for (name,) in database.execute("select name from experiments")}
    assert any(done["grid"] in name for name in names)


def in_a_process(*words: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "curvetune", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
