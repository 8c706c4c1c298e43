"""The page of a grid: one file, with the numbers of the report, for eyes, keyboards and phones."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from chromium import chromium, emulate
from PIL import Image
from storage_fixtures import add_epochs, finish, make_cells, write_grid
from trained_grid import GRID, train_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.report.pages.grid import page, write_html
from curvetune.report.tables.main import report_json
from curvetune.store import CellStore


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    train_grid(root, seeds=(0, 1))
    return root


@pytest.fixture(scope="module")
def html(trained: Path) -> str:
    return page(trained, GRID)


def test_the_page_has_the_numbers_of_the_report(trained: Path, html: str) -> None:
    report = report_json(trained, GRID)
    for row in report["methods"]:
        assert f"{row['ma']:.2f} ± {row['ma_std']:.2f}" in html
        for setting in row["settings"]:
            assert f"{setting['accuracy']:.2f}" in html
    for cell in report["cells"]:
        assert f'id="cell-{cell["cell_id"]}"' in html
        assert f"<b>{cell['accuracy']:.2f} %</b>" in html


def test_the_page_needs_nothing_else(html: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:image/|#)', html)
    assert "<script" not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert html.count("<!doctype html>") == 1


def test_the_first_seed_has_figures_and_suspects_and_the_others_have_their_facts(
    html: str,
) -> None:
    details = re.findall(r'<details id="cell-.*?</details>\s*</details>', html, re.DOTALL)
    with_pictures = [one for one in details if "<svg" in one]
    assert (len(details), len(with_pictures)) == (8, 4)
    assert all("seed 0" in one for one in with_pictures)
    noisy = next(one for one in with_pictures if "curvenet, noise 0.4" in one or "0.4" in one)
    assert 'class="suspects"' in noisy
    assert "What the classifier takes the test images for" in noisy


def test_the_page_overlays_the_methods_of_each_setting_with_bands_over_seeds(html: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    (learning,) = [one for one in figures if "while the final classifier is trained" in one]
    panels = re.findall(r"<svg viewBox.*?</svg>", learning, re.DOTALL)
    panels = [one for one in panels if 'class="axis"' in one]
    assert len(panels) == 2  # settings
    for panel in panels:
        assert panel.count("<title>curvenet</title>") == 1
        assert panel.count("<title>cross-entropy</title>") == 1
        assert panel.count('fill-opacity=".16"') == 2  # bands


def test_intervals_and_significance_stand_at_the_top(html: str) -> None:
    before = html[: html.index('id="figures"')]
    for words in ("95 % interval", "p (Holm)", "points over cross-entropy"):
        assert words in before


def test_options_that_were_set_are_there_once_and_all_of_each_cell(html: str) -> None:
    last = html[html.index('id="repeat"') :]
    assert "<dt>allocate.epochs</dt><dd>3</dd>" in last
    assert "<dt>bias.noise_rate</dt><dd>0, 0.4</dd>" in last
    assert "<dt>allocate.momentum</dt>" not in last  # it is at its default
    assert html.count("<dt>allocate.momentum</dt>") == 8


def test_classes_have_names_where_results_have_them(tmp_path: Path) -> None:
    cells = make_cells(seeds=[0])
    names = ["plane", "<b>bird</b>"]
    for cell in cells:
        finish(tmp_path, cell, 70.0, classifier={"class_names": names})
    write_grid(tmp_path, cells)
    found = page(tmp_path, "small")
    assert "plane 70.0, &lt;b&gt;bird&lt;/b&gt; 70.0" in found


def test_a_cell_that_diverged_is_named_at_the_top_and_marked(tmp_path: Path) -> None:
    cells = make_cells(seeds=[0])
    for k, cell in enumerate(cells):
        add_epochs(tmp_path, cell, 4)
        if k == 3:
            path = CellStore(tmp_path).folder(cell.cell_id("d" * 64)) / "history.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            rows[3]["loss"] = 812.0
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        finish(tmp_path, cell, 70.0)
    write_grid(tmp_path, cells)
    found = page(tmp_path, "small")
    assert "1 of 8 cells diverged." in found
    assert f'<a href="#cell-{cells[3].cell_id("d" * 64)}">' in found
    assert found.count('<em class="mark">diverged</em>') == 1
    assert "allocating: loss 812 at epoch 3" in found


def test_progress_is_told_while_the_page_is_made(trained: Path) -> None:
    told: list[str] = []
    page(trained, GRID, told=told.append)
    assert told[:2] == ["tables", "charts of the grid"]
    assert told[-1].startswith("cell 4 of 4: ")


def test_it_tells_what_ran_and_how_to_repeat_it(html: str) -> None:
    assert "<code>curvetune grid tiny</code>" in html
    assert "8 done" in html
    assert "torch 2." in html
    assert "time of all cells" in html


def test_a_grid_with_holes_has_a_page_that_says_so(tmp_path: Path) -> None:
    cells = make_cells(seeds=[0])
    finish(tmp_path, cells[0], 70.0)
    CellStore(tmp_path).fail(cells[1].cell_id("d" * 64), "ValueError: no luck", "")
    write_grid(tmp_path, cells)
    html = page(tmp_path, "small")
    assert "7 of 8 cells are missing" in html
    assert "ValueError: no luck" in html
    assert "70.00 %" in html


def test_a_fault_in_the_figure_of_a_cell_is_told_and_hides_nothing(
    trained: Path, tmp_path: Path, html: str
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(trained, root)
    for path in (root / "splits").iterdir():
        path.write_bytes(b"no split")
    broken = page(root, GRID)
    assert "not drawn, CorruptError" in broken
    for row in report_json(trained, GRID)["methods"]:
        assert f"{row['ma']:.2f} ± {row['ma_std']:.2f}" in broken


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_names_from_a_storage_are_text(tmp_path: Path) -> None:
    cells = make_cells(seeds=[0])
    for cell in cells:
        finish(tmp_path, cell, 70.0, device=HOSTILE, commit=HOSTILE, versions={HOSTILE: HOSTILE})
    write_grid(tmp_path, cells)
    path = tmp_path / "grids" / "small.json"
    record = json.loads(path.read_text())
    record["command"] = HOSTILE
    for entry in record["cells"]:
        entry["config"]["method"] |= {"name": HOSTILE, "recipe": HOSTILE}
        entry["config"]["model"]["name"] = HOSTILE
    path.write_text(json.dumps(record))
    html = page(tmp_path, "small")
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;" in html


def test_the_command_writes_the_page_and_says_where(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["report", GRID, "--storage", str(trained), "--html", str(out)], catch_exceptions=False
    )
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert "MB; it needs no network" in done.stderr
    assert out.read_text().startswith("<!doctype html>")


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_html_is_the_path_of_the_page_in_every_command(trained: Path, tmp_path: Path) -> None:
    cell = json.loads((trained / "grids" / f"{GRID}.json").read_text())["cells"][0]["cell_id"]
    place = ("--storage", trained)
    commands = {
        "report": ("report", GRID),
        "compare": ("compare", "cross-entropy", "curvenet", "--in", GRID),
        "suspects": ("suspects", cell, "--top", 5),
    }
    for name, words in commands.items():
        out = tmp_path / f"{name}.html"
        assert run(*words, *place, "--html", out) == f"{out}\n"
        assert out.read_text().startswith("<!doctype html>")
    takes = {
        command.name: [one.name for one in command.params if "--html" in one.opts]
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    }
    assert {name for name, found in takes.items() if found} == {*commands, "relabel"}


# -- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        out = tmp_path_factory.mktemp("page") / "page.html"
        write_html(trained, GRID, out)
        driver.get(out.as_uri())
        yield driver


@pytest.mark.browser
def test_it_loads_without_complaints_and_without_the_network(browser: Any) -> None:
    assert browser.get_log("browser") == []
    asked = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    own = ("data:", "chrome:", "chrome-")  # of the page; of the browser's first tab
    assert [url[:5] for url in asked if not url.startswith(own)] == ["file:"]


@pytest.mark.browser
def test_it_shows_the_numbers_of_the_report(trained: Path, browser: Any) -> None:
    emulate(browser)
    text = browser.execute_script("return document.getElementById('results').innerText")
    for row in report_json(trained, GRID)["methods"]:
        assert re.search(rf"{row['method']}\s+{row['ma']:.2f} ± {row['ma_std']:.2f}", text)


@pytest.mark.browser
def test_every_figure_is_an_image_that_loads(browser: Any) -> None:
    emulate(browser)
    browser.execute_script(
        "document.querySelectorAll('details').forEach(e => e.open = true);"
        "document.querySelectorAll('img').forEach(e => e.loading = 'eager')"
    )
    broken = browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map(e => e.decode().then(() => '', () => e.alt)))"
        ".then(found => done([images.length, found.filter(Boolean)]))"
    )
    assert broken[0] > 20
    assert broken[1] == []
    assert all(browser.execute_script("return [...document.images].map(e => e.alt)"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 768, 1400])
def test_no_page_is_wider_than_its_window(browser: Any, width: int) -> None:
    emulate(browser, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_no_title_of_a_table_is_cut_on_a_phone_and_its_rows_keep_their_names(browser: Any) -> None:
    emulate(browser, width=390)
    ends = browser.execute_script(
        "return [...document.querySelectorAll('caption span')]"
        ".map(e => [e.getBoundingClientRect().left, e.getBoundingClientRect().right])"
    )
    assert len(ends) >= 3
    assert all(0 <= left < right <= 390 for left, right in ends)
    moved = browser.execute_script(
        "const box = document.querySelector('.scroll'); box.scrollLeft = 200;"
        "const name = box.querySelector('tbody th').getBoundingClientRect();"
        "return [box.scrollLeft, box.scrollWidth > box.clientWidth, name.left]"
    )
    assert moved[0] > 0
    assert moved[1]
    assert moved[2] >= 0  # the name of the row is still there


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "shade"), [("light", 255), ("dark", 18)])
def test_a_table_that_goes_on_beyond_the_edge_has_a_shadow_there(
    browser: Any, tmp_path: Path, scheme: str, shade: int
) -> None:
    emulate(browser, width=390, scheme=scheme)
    place = browser.execute_script(
        "scrollTo(0, 0); const boxes = [...document.querySelectorAll('.scroll')];"
        "const box = boxes.find(e => e.scrollWidth > e.clientWidth + 20); box.scrollLeft = 0;"
        "const r = box.getBoundingClientRect(); return [r.right, r.top, r.left]"
    )
    picture = Image.open(io.BytesIO(base64.b64decode(shot(browser)))).convert("L")
    right, top, left = (round(value) for value in place)
    edge = picture.getpixel((right - 2, top + 3))
    middle = picture.getpixel((right - 60, top + 3))
    assert abs(middle - shade) < 3
    assert abs(edge - middle) > 20
    assert abs(picture.getpixel((left + 1, top + 3)) - shade) < 12  # nothing is left of it


def shot(browser: Any) -> str:
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    found = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return str(found["data"])


@pytest.mark.browser
def test_charts_are_dark_where_the_system_is(browser: Any) -> None:
    ink = []
    for scheme in ("light", "dark"):
        emulate(browser, scheme=scheme)
        ink.append(
            browser.execute_script(
                "const d = document.querySelector('.panel svg');"
                "return [getComputedStyle(d.querySelector('text')).fill,"
                " getComputedStyle(d).backgroundColor,"
                " getComputedStyle(document.querySelector('.shade')).fill]"
            )
        )
    (text, ground, shade), (dark_text, dark_ground, dark_shade) = ink
    assert (text, dark_text) == ("rgb(0, 0, 0)", "rgb(255, 255, 255)")
    assert ground == dark_ground == "rgba(0, 0, 0, 0)"  # the page shows through
    assert shade != dark_shade


@pytest.mark.browser
def test_how_to_open_a_cell_is_seen(browser: Any) -> None:
    emulate(browser)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = false)")
    said = "return getComputedStyle(document.querySelector('#cells summary'), arguments[0]).content"
    closed = [browser.execute_script(said, where) for where in ("::before", "::after")]
    browser.execute_script("document.querySelector('#cells details').open = true")
    opened = [browser.execute_script(said, where) for where in ("::before", "::after")]
    assert (closed[1], opened[1]) == ('"open"', '"close"')
    assert closed[0] != opened[0]


@pytest.mark.browser
def test_a_desk_shows_tables_and_charts_beside_each_other(browser: Any) -> None:
    places = {}
    for width in (390, 1440):
        emulate(browser, width=width)
        places[width] = browser.execute_script(
            "const [a, b] = [...document.querySelectorAll('.beside > div')]"
            ".map(e => e.getBoundingClientRect()); return [a.right <= b.left, b.right]"
        )
    assert [beside for beside, _ in places.values()] == [False, True]
    assert places[1440][1] > 1250  # the width is used


@pytest.mark.browser
def test_it_can_be_used_by_keyboard(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    emulate(browser)
    browser.execute_script(
        "document.querySelectorAll('details').forEach(e => e.open = false);"
        "document.activeElement.blur(); scrollTo(0, 0)"
    )
    reached = []
    for _ in range(12):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.execute_script("return document.activeElement.tagName"))
    assert reached[:5] == ["A"] * 5  # the skip link, and the contents
    assert "SUMMARY" in reached
    while browser.execute_script("return document.activeElement.tagName") != "SUMMARY":
        ActionChains(browser).send_keys(Keys.TAB).perform()
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert browser.execute_script("return document.activeElement.parentElement.open") is True


@pytest.mark.browser
def test_it_is_dark_where_the_system_is(browser: Any) -> None:
    shades = []
    for scheme in ("light", "dark"):
        emulate(browser, scheme=scheme)
        shades.append(browser.execute_script("return getComputedStyle(document.body).color"))
    assert shades == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
