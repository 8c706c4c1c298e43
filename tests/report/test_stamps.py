"""A result of another profile than release says so wherever its numbers are."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.text
import pytest
from rich.console import Console
from storage_fixtures import COMMAND, DIGEST, finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import Grid, read_grid
from curvetune.report.compare import compare_methods
from curvetune.report.figures import draw_all
from curvetune.report.pages.grid import page
from curvetune.report.published.table import published_document
from curvetune.report.tables.detail import table
from curvetune.report.tables.main import render, report_json
from curvetune.report.tables.paper import paper_document
from curvetune.status.table import counts_line, live_view
from curvetune.store import CellStore
from curvetune.tracking.base import Run
from curvetune.tracking.sync.notes import grid_files, grid_note, method_files
from curvetune.tracking.sync.runs import cell_spec, grid_spec, method_spec

SHORT = {"allocate": {"epochs": 3, "warmup": 0, "milestones": [2]}}
SAID = "profile smoke"


def tiny(**options: Any) -> list[CellConfig]:
    """Return one cell, whose page is quickly drawn."""
    return make_cells([{"name": "cross-entropy"}], [1], [0.4], [0], **(options or SHORT))


def stored(
    root: Path, profile: str | None = "smoke", cells: list[CellConfig] | None = None
) -> Grid:
    cells = make_cells(seeds=[0, 1], **SHORT) if cells is None else cells
    write_grid(root, cells)
    store = CellStore(root)
    made = {} if profile is None else {"made": {"profile": profile}}
    entries = store.read_grid("small")["cells"]
    store.write_grid("small", {"command": COMMAND, "data_digest": DIGEST, "cells": entries, **made})
    for cell in cells:
        finish(root, cell, 60.0)
    return read_grid(root, "small")


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_every_form_of_the_report_says_the_profile_in_each_title_and_what_it_means(
    tmp_path: Path, form: str
) -> None:
    grid = stored(tmp_path)
    text = render(tmp_path, "small", form)
    if form == "latex":  # a caption names no grid
        assert re.search(rf"\\caption\{{[^\n]*\({SAID}\)", text)
    else:
        assert text.count(f"small ({SAID})") >= 2
    assert "shows that it runs and not which method is better" in text
    for name in ("ma", "cells", "seeds", "significance"):
        found = table(tmp_path, grid, name, "last")
        assert all(SAID in sheet.title for sheet in found.sheets)
        assert any(SAID in note for note in found.notes)
        assert {record["profile"] for record in found.records} == {"smoke"}


def test_published_and_paper_tables_and_comparisons_say_it(tmp_path: Path) -> None:
    grid = stored(tmp_path)
    for found in (
        published_document(grid, "last"),
        paper_document(tmp_path, grid, "1", "last"),
        compare_methods(tmp_path, "small", "cross-entropy", "curvenet", "last"),
    ):
        assert all(SAID in sheet.title for sheet in found.sheets), found.name
        assert any(SAID in note for note in found.notes), found.name


def test_csv_and_json_have_it_as_a_field(tmp_path: Path) -> None:
    grid = stored(tmp_path)
    rows = [*csv.DictReader(io.StringIO(render(tmp_path, "small", "csv")))]
    assert {row["profile"] for row in rows} == {"smoke"}
    assert report_json(tmp_path, "small")["profiles"] == ["smoke"]
    done = CliRunner().invoke(app, ["status", "small", "--json", "--storage", str(tmp_path)])
    assert json.loads(done.stdout)["profiles"] == ["smoke"]
    assert grid.stamp == SAID


def test_a_release_says_nothing_and_its_csv_is_as_it_was(tmp_path: Path) -> None:
    grid = stored(tmp_path, "release")
    assert (grid.stamp, grid.title) == ("", "small")
    assert "profile" not in render(tmp_path, "small", "csv")
    assert "profile" not in render(tmp_path, "small", "markdown")
    stored(tmp_path / "tiny", "release", tiny())
    assert "<dt>profile" not in page(tmp_path / "tiny", "small")


def test_the_live_table_and_status_say_it(tmp_path: Path) -> None:
    progress = grid_progress(stored(tmp_path))
    assert counts_line(progress).startswith(f"small ({SAID}): ")
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(live_view(progress, rows=9))
    assert SAID in console.export_text()


def test_the_page_says_it_in_title_and_facts(tmp_path: Path) -> None:
    stored(tmp_path, "smoke", tiny())
    text = page(tmp_path, "small")
    assert f"<title>small ({SAID}): results</title>" in text
    assert "<dt>profile</dt><dd>smoke</dd>" in text


def test_every_figure_has_a_strip_with_it(tmp_path: Path) -> None:
    grid = stored(tmp_path)
    drawn = [one.figure for one in draw_all(tmp_path, grid, cells=()) if one.figure is not None]
    assert len(drawn) >= 3
    for figure in drawn:
        assert SAID in {text.get_text() for text in figure.findobj(matplotlib.text.Text)}
    stamped, plain = drawn[0], stored(tmp_path / "other", "release")
    before = next(draw_all(tmp_path / "other", plain, cells=())).figure
    assert before is not None
    assert stamped.get_figheight() == pytest.approx(before.get_figheight() + 0.2)


def test_runs_in_mlflow_have_it_as_tag_name_and_note(tmp_path: Path) -> None:
    grid = stored(tmp_path)
    top = Run("1", "RUNNING", {}, {}, "")
    label, cells = next(iter(grid.methods().items()))
    for spec in (
        grid_spec(grid),
        method_spec(grid, label, cells, top, "#0072b2"),
        cell_spec(grid, cells[0], top, "#0072b2"),
    ):
        assert spec.tags["curvetune.profile"] == "smoke"
    assert grid_spec(grid).name == f"small ({SAID})"
    assert SAID in grid_note(grid)
    files = grid_files(tmp_path, grid)
    assert SAID in files["report.md"]
    assert "profile: smoke" in files["again.yaml"]
    assert SAID in method_files(grid, label)["cells.md"]


def test_an_older_record_tells_its_profile_by_its_command(tmp_path: Path) -> None:
    grid = stored(tmp_path, None)
    assert grid.profiles == ("release",)
    store = CellStore(tmp_path)
    record = store.read_grid("small") | {"command": "curvetune grid small --profile fast"}
    store.write_grid("small", {k: record[k] for k in ("command", "data_digest", "cells")})
    assert read_grid(tmp_path, "small").stamp == "profile fast"


def test_a_grid_of_two_profiles_says_both(tmp_path: Path) -> None:
    stored(tmp_path, "release")
    grid = stored(tmp_path, "paper", make_cells([{"name": "gce"}], **SHORT))
    assert grid.stamp == "profiles release and paper"


@pytest.mark.parametrize(("epochs", "said"), [(3, "3"), (4, "4"), (25, "10")])
def test_the_mean_of_the_last_epochs_is_called_by_its_number(
    tmp_path: Path, epochs: int, said: str
) -> None:
    options = {"epochs": epochs, "warmup": 0, "milestones": [2]}
    grid = stored(tmp_path, "release", tiny(allocate=options))
    text = render(tmp_path, "small", "markdown", "last10")
    assert f"mean accuracy of the last {said} epochs" in text
    assert (f"last {said}",) in table(tmp_path, grid, "cells", "last").sheets[0].header
    assert f"mean of last {said} " in page(tmp_path, "small")


def test_cells_of_several_lengths_give_a_range(tmp_path: Path) -> None:
    short, long = make_cells(**SHORT), make_cells([{"name": "gce"}])
    assert stored(tmp_path, "release", [*short, *long]).last_epochs == "3 to 4"


def test_another_grid_of_the_same_name_is_named_below_every_table(tmp_path: Path) -> None:
    stored(tmp_path)
    write_grid(tmp_path, make_cells())
    (name,) = CellStore(tmp_path).kept("small")
    for text in (render(tmp_path, "small", "markdown"), page(tmp_path, "small")):
        assert f"{name} is another grid under this name, of 16 cells" in text
