"""The whole way of a grid with a method of one's own: run, bundle, verify elsewhere, import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundled import bundle, inside, run
from trained_grid import GRID, train_grid

from curvetune.plugins.load import load_plugins
from curvetune.store import CellStore

ROOT = Path(__file__).parents[2]
OWN = ROOT / "examples" / "own_method" / "soft_labels.py"


@pytest.mark.slow
def test_a_grid_with_a_plugin_is_verified_and_imported_where_neither_it_nor_the_storage_is(
    tmp_path: Path,
) -> None:
    load_plugins([str(OWN)])
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    train_grid(here, methods=({"name": "soft-labels"}, {"name": "curvenet", "removed_losses": 1}),
               rates=(0.4,))  # fmt: skip
    record = CellStore(here).read_grid(GRID)
    kept = {key: record[key] for key in ("cells", "command", "data_digest")}
    made = {"options": {"space": "digits", "plugins": [str(OWN)]}}
    CellStore(here).write_grid(GRID, {**kept, "made": made})
    bundle(here, there / "tiny.zip", grid=GRID)
    assert inside(there / "tiny.zip")["plugins/soft_labels.py"] == OWN.read_bytes()
    here.rename(tmp_path / "gone")

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(there)}
    command = [sys.executable, "-m", "curvetune", "verify", "tiny.zip"]
    done = subprocess.run(
        command, cwd=there, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "its 24 tables come out of its cells again" in done.stdout
    taken = run("import", there / "tiny.zip", "--storage", there / "to")
    assert "tiny: 2 cells (2 new), 1 probe (1 new), 1 split (1 new)" in taken.stdout
    report = run("report", GRID, "--storage", there / "to")
    assert "soft-labels" in report.stdout
