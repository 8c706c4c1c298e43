"""Every source that a file names is one that a reader can open."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    ".ci",
    "benchmarks",
    "curvetune",
    "docs",
    "examples",
    "scripts",
    "search_spaces",
    "tests",
)
SUFFIXES = ("", ".j2", ".md", ".py", ".sh", ".toml", ".txt", ".yaml")
TO_BE_REWRITTEN: tuple[str, ...] = ()

# docs/methods.md has cards with names and no numbers; the rest are no pages of this repository. An
# issue has a home where its repository stands before it: owner/name issue 1.
NOWHERE = re.compile(
    r"(methods\.md[, ]*\(?(section )?\d"
    r"|\bfact[ -]sheet"
    r"|\bthe (design|goals?)\b"
    r"|\b(data-formats|design|field|goal|house|ray|style)\.md"
    r"|(?<!\w/)\b([\w.-]+/[\w.-]+ )?issue #?\d+)",
    re.IGNORECASE,
)


def nowhere(text: str) -> list[str]:
    """Return what `text` names as a source that nobody can open, across the ends of lines too."""
    flat = re.sub(r"\s*\n[\s#]*", " ", text)
    return [found[0] for found in NOWHERE.finditer(flat) if "/" not in (found[5] or "")]


def files() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("*.t*")]
    for folder in FOLDERS:
        found += sorted((ROOT / folder).rglob("*"))
    return [p for p in found if p.is_file() and p.suffix in SUFFIXES and p != Path(__file__)]


@pytest.mark.parametrize(
    "text",
    [
        "the order is the released code's (methods.md 2.1)",
        "# as in methods.md\n# 6.13: a cosine",
        "methods.md (section 4) says so",
        "which is what the fact sheet's golden value says",
        "this is where it departs from the\n    design",
        "the goal of 60 % is met",
        "see design.md, section 6",
        "what issue 15 asks for",
        "mended as in issue #3.",
    ],
)
def test_a_source_that_nobody_can_open_is_found(text: str) -> None:
    assert len(nowhere(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Jiang et al., AAAI 2022, Eq. 11 and section 4.2",
        "jiangwenj02/CurveNet-V1 (feeder/feeder.py)",
        "the card of mentornet in docs/methods.md; 2 others are in docs/log.md",
        "xjtushujun/meta-weight-net issue #1 has the schedule",
        "samples that are issues, 30 of them",
        "by design, and goals of one's own",
    ],
)
def test_a_source_that_can_be_opened_is_left_alone(text: str) -> None:
    assert nowhere(text) == []


def test_no_file_names_a_source_that_nobody_can_open() -> None:
    pages = [path for path in files() if path.name not in TO_BE_REWRITTEN]
    assert len(pages) > 300
    found = {
        str(path.relative_to(ROOT)): sources
        for path in pages
        if (sources := nowhere(path.read_text(encoding="utf-8")))
    }
    assert found == {}
