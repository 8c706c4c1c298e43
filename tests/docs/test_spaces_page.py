"""docs/spaces.md is true: its space loads, and each command plans as many cells as it says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvetune.cli import app

TEXT = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")
SPACE = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
COUNTS = (36, 54, 36, 36, 72, 36)  # of each `plan`, in the order of the page
PLANS = [words for words in COMMANDS if words[1] == "plan"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (text,) = SPACE
    (tmp_path / "width.yaml").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("words", "count"), list(zip(PLANS, COUNTS, strict=True)))
def test_a_plan_has_as_many_cells_as_the_page_says(words: list[str], count: int) -> None:
    done = CliRunner().invoke(app, [*words[1:], "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)["cells_total"]
    assert found == count
    assert str(count) in TEXT


def test_all_commands_of_the_page_are_run_here() -> None:
    others = [words for words in COMMANDS if words not in PLANS]
    assert {words[1] for words in others} == {"options"}
    for words in others:
        assert CliRunner().invoke(app, words[1:], catch_exceptions=False).exit_code == 0
