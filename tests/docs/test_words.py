"""One word for a thing: the words that docs/words.md drops are in nothing that people read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "words.md"
# Records of what was, in the words of their day; and the page that the lead keeps
RECORDS = {"log.md", "measurements.md", "words.md", "architecture.md"}
# Keys and values of JSON that programs read, and names that others gave
KEPT = {"GPU-hours", "CPU-hours"}


def dropped() -> list[str]:
    """Return the words of the glossary's last column."""
    rows = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")][1:]
    return [word.strip() for row in rows for word in row.strip("| ").split("|")[-1].split(",")]


def shown(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that can be printed: all but docstrings, which help shows."""
    tree = ast.parse(path.read_text())
    is_help = "cli" in path.parts
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if is_help or id(node) not in docstrings:
            yield node.lineno, node.value


def pattern() -> re.Pattern[str]:
    return re.compile("|".join(rf"\b{re.escape(word)}" for word in dropped()), re.IGNORECASE)


def test_the_glossary_drops_words_and_means_something_by_each_that_it_keeps() -> None:
    assert "final training" in dropped()
    assert len(dropped()) == len(set(dropped())) > 20
    rows = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")]
    assert all(len(row.strip("| ").split("|")) == 3 for row in rows)


def test_nothing_that_is_printed_has_a_dropped_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sorted((ROOT / "curvetune").rglob("*.py"))
        for line, text in shown(path)
        if text not in KEPT and pattern().search(text)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["README.md", "docs"])
def test_no_page_has_a_dropped_word(name: str) -> None:
    pages = sorted((ROOT / name).glob("*.md")) if name == "docs" else [ROOT / name]
    found = [
        f"{page.name}:{number}: {line}"
        for page in pages
        if page.name not in RECORDS
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        if pattern().search(line)
    ]
    assert found == []


def test_a_dropped_word_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "cli" / "x.py"
    module.parent.mkdir()
    module.write_text('"""Of a final training."""\nprint(f"the {1} final training")\n')
    assert len([text for _, text in shown(module) if pattern().search(text)]) == 2
