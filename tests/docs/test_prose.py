"""How the pages are written: wrapped, in short sentences, every table in one place."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TO_BE_REWRITTEN = ("CHANGELOG.md",)  # one line each, in lists
PAGES = [
    page
    for page in [
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/*.md")),
        *sorted(ROOT.glob("cluster/*.md")),
    ]
    if page.name not in TO_BE_REWRITTEN
]
COLUMNS = 88
MOST_WORDS = 30  # of a sentence
USUAL_WORDS = 20  # what CONTRIBUTING.md asks for
# A full stop after these ends no sentence.
SHORT = r"(?<!\bal)(?<!\bEq)(?<!\bvs)"
SENTENCE_END = re.compile(rf"{SHORT}[.!?:][)*\"”]*\s+(?=[^a-z])")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text: str) -> list[list[str]]:
    """Return the paragraphs and items of lists as lines; no tables, headings or code."""
    found: list[list[str]] = [[]]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if re.match(r"\s*([-*]|\d+\.) ", line):
            found.append([])
        if not line.strip() or line.startswith(("#", "|")):
            found.append([])
        else:
            found[-1].append(line)
    return [block for block in found if block]


def too_wide(text: str) -> list[str]:
    """Return the lines of prose that are too long; a line that is one word cannot be wrapped."""
    lines = [line for block in blocks(text) for line in block]
    return [line for line in lines if len(line) > COLUMNS and len(line.lstrip("-* ").split()) > 1]


def sentences(text: str) -> list[str]:
    """Return the sentences of the prose, each on one line; code is one word."""
    found = []
    for block in blocks(text):
        plain = re.sub(r"`[^`]*`", "CODE", " ".join(line.strip() for line in block))
        found += SENTENCE_END.split(re.sub(r"^([-*]|\d+\.) ", "", plain))
    return [sentence for sentence in found if sentence.strip()]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"[^\W\d_]", word)) for word in sentence.split())


def rows(text: str) -> list[str]:
    """Return the rows of tables that have a number in them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line for line in lines if re.search(r"\d", line)]


LONG = "word " * 18 + "end"


@pytest.mark.parametrize(
    "text", [LONG, f"- {LONG}", f"A line.\n{LONG}", f"```\ncode\n```\n{LONG}", f"> {LONG}"]
)
def test_a_line_of_prose_that_is_too_wide_is_found(text: str) -> None:
    assert len(too_wide(text)) == 1


@pytest.mark.parametrize(
    "text", [f"| {LONG} |", f"```\n{LONG}\n```", f"# {LONG}", f"[link](https://{'x' * 90})"]
)
def test_tables_code_headings_and_bare_links_may_be_wide(text: str) -> None:
    assert too_wide(text) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One fact. Another\none.", 2),
        ("Jiang et al. wrote it. See Eq. 4 there.", 2),
        ("- An item of 1.5 s.\n- Another item", 2),
        ("It says `a. B. c` there. (Done.) Yes.", 3),
    ],
)
def test_sentences_are_told_apart(text: str, count: int) -> None:
    assert len(sentences(text)) == count


@every_page
def test_prose_is_wrapped(page: Path) -> None:
    assert too_wide(page.read_text(encoding="utf-8")) == []


@every_page
def test_no_sentence_is_very_long_and_most_are_short(page: Path) -> None:
    found = sentences(page.read_text(encoding="utf-8"))
    assert [sentence for sentence in found if words(sentence) > MOST_WORDS] == []
    short = sum(words(sentence) <= USUAL_WORDS for sentence in found)
    assert short >= 0.9 * len(found)


def test_no_row_of_a_table_stands_in_two_places() -> None:
    count = Counter(row for page in PAGES for row in rows(page.read_text(encoding="utf-8")))
    assert [row for row, times in count.items() if times > 1] == []
