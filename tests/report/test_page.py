"""The page of a grid: one file, with the numbers of the report, for eyes, keyboards and phones."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, emulate
from storage_fixtures import finish, make_cells, write_grid
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


def test_it_tells_what_ran_and_how_to_repeat_it(html: str) -> None:
    assert "<code>curvetune grid tiny</code>" in html
    assert "8 done" in html
    assert "torch 2." in html
    assert "device-hours" in html


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
