"""cluster/README.md and the stories: every file is named and says what it is; commands exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvetune.cli import app

CLUSTER = Path(__file__).parents[2] / "cluster"
README = (CLUSTER / "README.md").read_text(encoding="utf-8")
FILES = sorted(f for f in CLUSTER.rglob("*") if f.is_file() and f.name != "README.md")
STORIES = [f for f in FILES if f.suffix in (".yaml", ".sbatch")]
# Options that another branch brings: take them out here once `--help` has them.


def story(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    end = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line[1:] for line in lines[:end])


@pytest.mark.parametrize("file", STORIES, ids=lambda f: f.name)
def test_a_file_opens_with_what_it_costs_and_how_to_end_it(file: Path) -> None:
    text = story(file)
    assert re.search(r"[Cc]osts", text)
    assert re.search("^ (Costs.*)?End it: |End it:  ", text, re.MULTILINE)
    assert re.search(r"^   ?\(?[\w]", text, re.MULTILINE), "a command of its own line"


def options() -> Iterator[tuple[str, str]]:
    """Yield each command of curvetune with each option that stories and the page give it."""
    for file in [*STORIES, CLUSTER / "README.md"]:
        text = re.sub(r"\\\n#? *", " ", file.read_text(encoding="utf-8"))
        for name, rest in re.findall(r"\bcurvetune (grid|plan|status)\b([^`;|#&\n]*)", text):
            yield from ((name, option) for option in re.findall(r"(?<=\s)--[a-z-]+", rest))


def test_every_option_of_a_command_is_one_that_it_has() -> None:
    used = set(options())
    assert len(used) >= 5
    known = {
        (name, option)
        for name in ("grid", "plan", "status")
        for option in re.findall(
            "--[a-z-]+",
            CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output,
        )
    }
    assert used <= known


def test_the_page_names_every_file() -> None:
    for file in FILES:
        folder = file.relative_to(CLUSTER).parts[0]
        assert file.name in README or f"cluster/{folder}/" in README or f"{folder}/" in README


def test_every_price_has_a_date_and_a_source() -> None:
    rows = [line for line in README.splitlines() if re.search(r"\d \$", line)]
    assert len(rows) == 3
    for row in rows:
        assert re.search(r"\d+ \w+ 2026", row)
        assert "https://" in row or "the same collection" in row


def test_no_file_names_a_place_of_a_machine() -> None:
    places = re.compile(r"(?<![\w.])/(home/(?!ubuntu|curvetune)|root/(?!\.cache)|work/|Users/)\w+")
    assert [f.name for f in FILES if places.search(f.read_text(encoding="utf-8"))] == []
