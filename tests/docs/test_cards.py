"""docs/methods.md has a card of every method, in fixed lines that agree with its section."""

import re
from pathlib import Path

import pytest

from curvetune.cli.info import describe, needs
from curvetune.methods import METHODS

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
LINES = ["Idea", "Loss", "Needs", "Cost", "Source", "Deviations"]
every_method = pytest.mark.parametrize("name", METHODS)


def card(name: str) -> dict[str, str]:
    """Return the lines of a card by their names, each as one line of text."""
    body = PAGE.split(f"\n### {name}\n")[1].partition("\n#")[0]
    items = re.split(r"^- \*\*(\w+)\*\*: ", body, flags=re.MULTILINE)
    assert items[0].strip() == "", f"{name} has text before its first line"
    return {key: " ".join(text.split()) for key, text in zip(items[1::2], items[2::2], strict=True)}


def test_there_is_one_card_for_each_method_in_their_order() -> None:
    assert re.findall(r"^### (.+)$", PAGE, re.MULTILINE) == list(METHODS)


@every_method
def test_a_card_has_the_six_lines_and_nothing_else(name: str) -> None:
    found = card(name)
    assert list(found) == LINES
    assert all(found.values())


@every_method
def test_a_card_says_what_the_method_needs_and_costs_as_its_section_does(name: str) -> None:
    known, found = describe(name), card(name)
    assert found["Cost"] == f"{known['cost']}."
    assert found["Needs"].partition(".")[0] == needs(known).replace("–", "nothing")


@every_method
def test_a_card_and_a_section_name_the_same_publication_and_repository(name: str) -> None:
    publication, _, rest = str(describe(name)["source"]).partition(" (")
    names = re.match(r".*?(?= et al\.|, | and )", publication)
    source = card(name)["Source"]
    assert names is not None
    assert source.startswith(names[0])
    for repository in re.findall(r"[\w.-]+/[\w.-]+", rest):
        assert repository in source


@every_method
def test_the_grid_of_all_methods_has_its_accuracy(name: str) -> None:
    rows = re.findall(rf"^\| {re.escape(name)} \| .*%?\|$", PAGE, re.MULTILINE)
    assert len(rows) == 2  # the mean, and each setting
