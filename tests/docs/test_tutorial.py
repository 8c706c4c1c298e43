"""The tutorial works when it is typed, block by block, in an empty folder.

It takes minutes, so it runs with scripts/test-faults, not in CI.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(480)
def test_every_block_runs_one_after_another(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "curvetune"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m curvetune "$@"\n')
    command.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    folder = tmp_path / "empty"
    folder.mkdir()
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    assert len(BLOCKS) >= 8
    said = []
    for kind, text in BLOCKS:
        line = ["bash", "-euc", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            line, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout + done.stderr)
    assert (folder / "page.html").stat().st_size > 100_000
    assert "36 cells: 0 done, 36 to run" in said[0]
    assert any("all checks passed" in text for text in said)
    assert any("36 cells, 24 done, 12 to run" in text for text in said)
