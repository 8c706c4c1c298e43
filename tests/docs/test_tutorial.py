"""The tutorial works when it is typed, block by block, in an empty folder.

It takes minutes, so it runs with scripts/test-faults, not in CI.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_folder import photograph, write_album

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PHOTOGRAPHS = "## From 300 photographs"
Block = tuple[str, str]  # its language, and its text


def blocks(text: str) -> list[Block]:
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section() -> str:
    return TEXT.split(PHOTOGRAPHS)[1].partition("\n## ")[0]


BLOCKS = [block for block in blocks(TEXT) if block not in blocks(section())]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Block], str]:
    """Return a function that runs a block in an empty folder and returns what it said."""
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

    def run_block(block: Block) -> str:
        kind, text = block
        line = ["bash", "-euc", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            line, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run_block


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(480)
def test_every_block_runs_one_after_another(tmp_path: Path, run: Callable[[Block], str]) -> None:
    assert len(BLOCKS) >= 8
    said = [run(block) for block in BLOCKS]
    folder = tmp_path / "empty"
    assert (folder / "page.html").stat().st_size > 100_000
    assert "36 cells: 0 done, 36 to run" in said[0]
    assert any("all checks passed" in text for text in said)
    assert any("36 cells, 24 done, 12 to run" in text for text in said)


def test_photographs_are_cleaned_and_one_is_told_in_fifteen_lines_at_most() -> None:
    lines = [line for _, text in blocks(section()) for line in text.splitlines()]
    assert 5 < len(lines) <= 15
    for word in ("suspects", "clean", "predict"):
        assert any(line.startswith(f"curvetune {word} ") for line in lines)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_photographs_are_cleaned_and_one_is_told(
    tmp_path: Path, run: Callable[[Block], str]
) -> None:
    folder = tmp_path / "empty"
    write_album(folder / "photographs")
    photograph("sun", np.random.default_rng(99)).save(folder / "new.jpg")
    before = sorted(path.name for path in folder.glob("photographs/*/*"))
    wrong = {name for name in before if name.startswith("WRONG")}
    (text,) = (run(block) for block in blocks(section()))
    assert "60 of 300 images are held out" in text
    assert sorted(path.name for path in folder.glob("photographs/*/*")) == before
    kept = {path.name for path in (folder / "cleaned").rglob("*.jpg")}  # in train/ and test/
    taken_out = set(before) - kept
    assert 10 <= len(taken_out) <= 60
    assert len(taken_out & wrong) > len(taken_out) / 3  # a tenth would be chance
    assert "<img" in (folder / "wrong.html").read_text(encoding="utf-8")
    assert re.search(r"^new\.jpg +sun +\d+\.\d %", text, re.MULTILINE)
