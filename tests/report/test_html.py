"""HTML comes out of templates alone: one table, one head and one style, and text stays text."""

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, emulate
from jinja2 import UndefinedError
from trained_grid import GRID, train_grid

import curvetune
from curvetune.analysis.suspects import find_suspects
from curvetune.report.document import FORMS, Document
from curvetune.report.pages.grid import page
from curvetune.report.pages.suspects import suspects_page
from curvetune.report.pages.templates import render as fill
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import render

PACKAGE = Path(curvetune.__file__).parent
FOLDER = PACKAGE / "report" / "pages" / "templates"
TEMPLATES = sorted(FOLDER.glob("*.j2"))
PAGES = ("grid", "suspects", "document")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("trained")
    train_grid(root, methods=({"name": "cross-entropy"},), rates=(0.4,))
    cell = json.loads((root / "grids" / f"{GRID}.json").read_text())["cells"][0]["cell_id"]
    return {
        "grid": page(root, GRID),
        "suspects": suspects_page(find_suspects(root, cell), 30),
        "document": render(root, GRID, "html"),
    }


class Table(HTMLParser):
    """Reads a table as a browser does: its caption, the texts of its cells, and which are bold."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.caption, self.rows, self.bold, self.tags = "", list[list[str]](), set(), set()
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "br":
            self.rows[-1][-1] += "\n"
        else:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self._open:
            self.caption += data
        if {"th", "td"} & set(self._open):
            self.rows[-1][-1] += data
        if "strong" in self._open:
            self.bold.add((len(self.rows) - 2, len(self.rows[-1]) - 1))


# ---------------------------------------------------------------- tables


def test_a_table_has_its_caption_its_header_in_lines_and_the_best_in_bold() -> None:
    header = (("method",), ("imbalance 10", "noise 0.4"), ("cells",))
    rows = (("curvenet", "71.20 ± 0.10", "3/3"), ("focal", "70.00", "2/3"))
    sheet = Sheet("digits: MA", header, rows, frozenset({(0, 1), (1, 2)}))
    found = Table(fill("table.html.j2", sheet=sheet))
    assert found.caption == "digits: MA"
    assert found.rows == [["method", "imbalance 10\nnoise 0.4", "cells"], *map(list, rows)]
    assert found.bold == {(0, 1), (1, 2)}


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</td></table><img src=x onerror=alert(1)>",
        "\" onmouseover='alert(1)' x=\"",
        "{{ 7 * 7 }}{% raw %}",
        "&lt;b&gt; & <!-- c",
        "a <br> b",
    ],
)
def test_whatever_a_table_says_reads_as_it_was_written(text: str) -> None:
    sheet = Sheet(text, ((text,), (text, text)), ((text, text), (text, text)), frozenset({(0, 1)}))
    found = Table(fill("table.html.j2", sheet=sheet))
    assert found.caption == text
    assert found.rows == [[text, f"{text}\n{text}"], [text, text], [text, text]]
    assert found.tags == {
        "table",
        "caption",
        "span",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "br",
    }
    whole = FORMS["html"](Document("MA", text, (sheet,), (), (text,)))
    assert not re.search(r"<(script|img|!--)|onmouseover=[\"']", whole)


def test_a_plan_shows_its_settings_as_a_table_in_a_notebook(tmp_path: Path) -> None:
    plan = curvetune.plan("digits", methods=["cross-entropy", "focal"], seeds=2, storage=tmp_path)
    found = Table(plan._repr_html_())
    assert found.caption == repr(plan)
    assert found.rows[0] == ["imbalance", "noise", "cells done", "to run"]
    assert [row[0] for row in found.rows[1:]] == ["1", "1", "10", "10"]
    assert {row[1] for row in found.rows[1:]} == {"none", "0.4 uniform_prop"}
    assert [row[2:] for row in found.rows[1:]] == [["0", "4"]] * 4
    assert len(plan) == 16


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_the_same_head_and_style_and_asks_for_nothing(
    pages: dict[str, str], name: str
) -> None:
    text = pages[name]
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>\n")
    assert text.endswith("</html>\n")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert re.findall(r"<style>\s*(.*?)</style>", text, re.DOTALL) == [style]
    assert not re.search(r"<script|<link|<style [^>]|\sstyle=|@import|url\(", text)
    assert not re.findall(r'(?:src|href)="(?!data:image/|#)', text)


def test_every_class_of_the_style_is_used_by_a_template_and_the_other_way_round() -> None:
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    selectors = re.sub(r"\{[^{}]*\}|/\*.*?\*/", "{}", style, flags=re.DOTALL)
    used = {
        word
        for template in TEMPLATES
        for words in re.findall(r'class="([^"]*)"', template.read_text(encoding="utf-8"))
        for word in words.split()
    }
    assert set(re.findall(r"\.([a-z]+)", selectors)) == used


def test_a_value_that_a_template_lacks_is_an_error_and_no_gap() -> None:
    with pytest.raises(UndefinedError, match="'notes' is undefined"):
        fill("document.html.j2", title="t", sheets=())


TAG = re.compile(
    r"</?(a|b|body|br|caption|code|dd|div|dl|dt|h\d|head|html|img|li|link|main|meta|ol|p|pre"
    r"|script|section|span|strong|style|svg|table|tbody|td|th|thead|title|tr|ul)\b[^<]*>|<!doctype",
    re.IGNORECASE,
)


def test_no_python_file_makes_html_and_no_template_lets_text_through_unescaped() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not TAG.search(node.value), f"{file}:{node.lineno}"
    assert len(TEMPLATES) > 4
    for file in TEMPLATES:
        assert not re.search(r"\bsafe\b|autoescape", file.read_text(encoding="utf-8")), file
        if re.search("<(head|style)>", file.read_text(encoding="utf-8")):
            assert file.name in ("base.html.j2", "picture.svg.j2")


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_a_phone_and_a_desk_and_is_dark_where_the_system_is(
    pages: dict[str, str], browser: Any, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "page.html"
    out.write_text(pages[name], encoding="utf-8")
    emulate(browser)
    browser.get(out.as_uri())
    assert browser.get_log("browser") == []
    for width in (360, 768, 1400):
        emulate(browser, width=width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    shades = []
    for scheme in ("light", "dark"):
        emulate(browser, scheme=scheme)
        shades.append(browser.execute_script("return getComputedStyle(document.body).color"))
    assert shades == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
