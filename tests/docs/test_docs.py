"""What the documents say is true: links, files, commands, tables of contents."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.config import HUMAN
from curvetune.data.people.cells import with_digests
from curvetune.planning.space import load_space

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("cluster/*.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        text = (page.parent / name if name else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
        assert anchor in anchors, f"{page.name} has a link to {name}#{anchor}"


def test_the_architecture_page_names_every_file_and_folder_of_the_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("## Where things are")[1].split("```")[1]
    parts = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "curvetune").iterdir()
        if not path.name.startswith("__")
    }
    named = set(re.findall(r"[\w.]+(?:\.py|/)", tree))
    assert parts - named == set()


def test_the_readme_has_two_commands_and_ci_runs_the_second() -> None:
    commands = re.findall(r"```sh\n(.*?)\n```", README.split("## What it promises")[0], re.DOTALL)
    assert len(commands) == 2
    assert commands[0].endswith("curvetune grid digits")
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `curvetune ([a-z]+)", README, re.MULTILINE)
    commands = [c.name or c.callback.__name__ for c in app.registered_commands]
    assert sorted(listed) == sorted(commands)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.stem)
def test_a_space_opens_with_its_story_and_a_command_that_is_understood(space: Path) -> None:
    text = space.read_text(encoding="utf-8")
    story = text.split("\nbase:")[0]
    assert all(line.startswith("#") for line in story.splitlines())
    commands = re.findall(r"^#   (curvetune [^(\n]*)", story, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command)[1:]
        name = f"ablate-{words[1]}" if words[0] == "ablate" else words[1]
        assert name == space.stem
        assert CliRunner().invoke(app, [words[0], "--help"]).exit_code == 0


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.stem)
def test_a_space_has_as_many_cells_and_probes_as_its_story_says(space: Path) -> None:
    any_labels = dict.fromkeys(HUMAN, "0" * 16)
    cells = with_digests(load_space(space.stem).cells, any_labels)
    probes = {cell.probe_id("digest") for cell in cells} - {None}
    story = " ".join(space.read_text(encoding="utf-8").replace("#", "").split())
    assert f"= {len(cells)} cells on {len(probes)} probe" in story


def test_no_file_names_a_place_of_a_machine() -> None:
    places = re.compile(r"(?<![\w.])/(home|root|work|Users)/\w+")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for pattern in ("*.md", "docs/*.md", "search_spaces/*.yaml", "curvetune/**/*.py", "*.t*")
        for path in ROOT.glob(pattern)
        for match in places.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
