"""Every table that a command prints, at four widths and into a pipe: whole names, no nameless row.

The tables of `suspects` are in tests/analysis/test_suspects.py, for they need a trained cell.
"""

import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from image_folder import write_images
from storage_fixtures import DIGEST, add_epochs, fail, finish, make_cells, write_grid

from curvetune.cli import app
from curvetune.config import METHOD_SECTIONS
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import read_grid
from curvetune.jobs.job import Job
from curvetune.jobs.table import jobs_table
from curvetune.status.doctor.finding import Finding, print_findings
from curvetune.status.table import live_view
from curvetune.system.tables import print_table
from curvetune.system.terminal import plain_console

WIDTHS = (40, 60, 80, 120)
LABELS = (
    "cross-entropy",
    "curvenet skip_layers=0 drw=true",
    "curvenet skip_layers=3 drw=false",
    "mw-net-noise",
)
SETTINGS = ("imbalance 1, noise 0", "imbalance 10, noise 0.4")
REPORT = ("report", "small")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
JOB = "curvetune-a-grid-with-a-long-name-20261128T101500-4f21aa"


class Terminal(io.StringIO):
    """A terminal that remembers what it was told."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of four methods whose names are long, with a failed and a running cell at its end."""
    root = tmp_path_factory.mktemp("storage")
    swept = ({"skip_layers": 0, "drw": True}, {"skip_layers": 3, "drw": False})
    methods = [
        {"name": "cross-entropy"},
        *({"name": "curvenet", **options} for options in swept),
        {"name": "mw-net-noise"},
    ]
    cells = make_cells(methods=methods, seeds=(0, 1, 2))
    write_grid(root, cells)
    for k, cell in enumerate(cells[:-2]):
        finish(root, cell, 70 + k / 7)
    finish(root, make_cells(seeds=(9,))[0], 50)  # no grid has it: `gc` lists it
    fail(root, cells[-2], "RuntimeError: no luck")
    add_epochs(root, cells[-1], 2, start=time.time())
    return root


def at(monkeypatch: pytest.MonkeyPatch, width: int | None, show: Callable[[], None]) -> list[str]:
    """Return the lines that `show` prints on a terminal of `width`; None: into a pipe."""
    out = Terminal() if width else io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width or 50))
    show()
    monkeypatch.undo()
    text = out.getvalue()
    return (text if width is None else ESCAPE.sub("", text)).splitlines()


def command(*arguments: str | Path) -> Callable[[], None]:
    def run() -> None:
        assert not app(list(map(str, arguments)), standalone_mode=False)

    return run


def blocks(lines: list[str]) -> list[list[str]]:
    """Return the rows below each rule, up to an empty line or a further rule."""
    found: list[list[str]] = []
    inside = False
    for line in lines:
        if line.startswith("─"):
            inside = True
            found.append([])
        elif not line.strip():
            inside = False
        elif inside:
            found[-1].append(line)
    return found


def check(
    lines: list[str], width: int | None, keys: tuple[str, ...], whole: tuple[str, ...]
) -> None:
    """Each row of each block begins with a key, no name is cut, a pipe has no escapes."""
    text = "\n".join(lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for name in whole:
        assert any(name in line for line in lines), f"{name} is not whole:\n{text}"
    for rows in blocks(lines):
        # what begins with a blank goes on from the line above: a sentence
        nameless = [row for row in rows if not row.startswith((*keys, " "))]
        assert nameless == []
        assert rows[0].startswith(keys)
    if width is not None:
        tables = [line for rows in blocks(lines) for line in rows]
        assert max(map(len, tables), default=0) <= width
    else:
        assert "\x1b" not in text


TABLES = {
    "report": (REPORT, LABELS, LABELS),
    "ma": ((*REPORT, "--table", "ma"), LABELS, LABELS),
    "cells": ((*REPORT, "--table", "cells"), LABELS, (*LABELS, *SETTINGS)),
    "seeds": ((*REPORT, "--table", "seeds"), LABELS, (*LABELS, *SETTINGS)),
    "significance": ((*REPORT, "--table", "significance", "--against", "all"), LABELS, LABELS),
    "published": ((*REPORT, "--published"), LABELS, LABELS),
    "paper": ((*REPORT, "--paper", "1"), ("",), ("MW-Net(noise)",)),
    "compare": (
        ("compare", "cross-entropy", "mw-net-noise", "--in", "small"),
        ("mw-net-noise", *SETTINGS, "imbalance"),
        ("mw-net-noise", "cross-entropy", *SETTINGS),
    ),
    "status of all": (("status",), ("small",), ("small",)),
}


@pytest.mark.parametrize("width", [*WIDTHS, None])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_a_grid_are_whole_at_every_width(
    name: str, width: int | None, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, keys, whole = TABLES[name]
    lines = at(monkeypatch, width, command(*arguments, "--storage", storage))
    check(lines, width, keys, whole)


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_the_cells_of_a_grid_are_told_apart_at_every_width(
    width: int | None, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tuple(cell.cell_id[:6] for cell in read_grid(storage, "small").cells)
    lines = at(monkeypatch, width, command("status", "small", "--storage", storage))
    check(lines, width, ids, (*ids, *LABELS))
    progress = grid_progress(read_grid(storage, "small"))

    def live() -> None:
        console = plain_console()
        console.print(live_view(progress, rows=9, width=console.width))

    check(at(monkeypatch, width, live), width, LABELS, LABELS)


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_methods_plans_and_reasons_are_whole_at_every_width(
    width: int | None, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = tuple(METHOD_SECTIONS)
    check(at(monkeypatch, width, command("methods")), width, methods, methods)
    plan = at(monkeypatch, width, command("plan", "digits", "--storage", storage))
    keys = ("1", " ", "all", "probe", "curvenet", "cross-entropy", "mw-net-noise")
    check(plan, width, keys, ("cross-entropy", "mw-net-noise", "curvenet", "0.4"))
    cell = read_grid(storage, "small").cells[1]
    unused = make_cells(seeds=(9,))[0].cell_id(DIGEST)
    gc = at(monkeypatch, width, command("gc", "--dry-run", "--storage", storage))
    check(gc, width, ("",), (unused,))
    why = at(monkeypatch, width, command("why", cell.cell_id, "--storage", storage))
    check(why, width, ("",), (cell.cell_id, "skip_layers", "allocate.epochs"))


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_jobs_findings_and_data_are_whole_at_every_width(
    width: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"curvetune_grid": "small"}
    jobs = [Job(JOB, "RUNNING", "", None, time.time(), None, about)]

    def show_jobs() -> None:
        print_table(jobs_table(jobs), plain_console())

    check(at(monkeypatch, width, show_jobs), width, (jobs[0].grid,), (JOB,))
    findings = [Finding("object store", "warn", "it is " + "very " * 40 + "full", "make room")]
    lines = at(monkeypatch, width, lambda: print_findings(findings, plain_console()))
    check(lines, width, ("",), ("object store", "make room"))
    birds = ("barn owl", "guinea fowl", "hen")
    write_images(tmp_path / "photographs", classes=birds)
    lines = at(monkeypatch, width, command("data", "check", tmp_path / "photographs"))
    check(lines, width, birds, birds)


@pytest.mark.parametrize("form", ["markdown", "csv", "json", "latex", "html"])
def test_a_form_for_programs_does_not_know_the_terminal(
    form: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = command(*REPORT, "--format", form, "--storage", storage)
    texts = {"\n".join(at(monkeypatch, width, asked)) for width in (40, 120, None)}
    assert len(texts) == 1
    assert "\x1b" not in texts.pop()


def test_a_fixture_has_the_cells_that_its_tables_need(storage: Path) -> None:
    grid = read_grid(storage, "small")
    assert tuple(grid.methods()) == LABELS
    assert grid.digest == DIGEST
    assert {state for state, n in grid.counts().items() if n} == {"done", "failed", "running"}
