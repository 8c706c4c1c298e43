"""At its end a grid says where its results are, and three commands that work as they stand."""

import shlex
from pathlib import Path

import pytest
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.grids.cells import read_grid
from curvetune.status.next_steps import next_lines

METHODS = [{"name": "cross-entropy"}, {"name": "curvenet"}]


def commands(lines: list[str]) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in lines if line.startswith("  curvetune ")]


def test_nothing_is_next_where_no_cell_is_done(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(METHODS))
    assert next_lines(read_grid(tmp_path, "small"), tmp_path, "curvetune grid small") == []


@pytest.mark.parametrize("tracked_here", [True, False])
def test_three_commands_take_over_where_results_images_and_plugins_are(
    tmp_path: Path, tracked_here: bool
) -> None:
    storage = tmp_path / "my results"
    cells = make_cells(METHODS, imbalances=(1,), noise_rates=(0.0, 0.4), seeds=(0,))
    write_grid(storage, cells)
    for cell in cells[:3]:
        finish(storage, cell, 70)
    if tracked_here:
        (storage / "mlflow.db").touch()
    where = ["--storage", str(storage)]
    typed = ["grid", "small", "--data-dir=my images", "--plugin", "a.py", "--plugin=b.py", *where]
    lines = next_lines(read_grid(storage, "small"), storage, shlex.join(["curvetune", *typed]))
    assert lines[0] == f"\nresults: 3 of 4 cells, in {storage}"
    more = ["--data-dir", "my images", "--plugin", "a.py", "--plugin", "b.py", *where]
    report, suspects, last = commands(lines)
    assert report == ["curvetune", "report", "small", "--html", "small.html", *more]
    curvenet = next(c for c in cells[:3] if c.method.name == "curvenet")
    assert suspects == ["curvetune", "suspects", curvenet.cell_id(DIGEST), *more]
    significance = ["report", "small", "--table", "significance"]
    assert last == ["curvetune", *(["ui"] if tracked_here else significance), *where]


def test_a_masked_address_is_to_be_put_in_again(tmp_path: Path) -> None:
    cells = make_cells(METHODS)
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 70)
    command = "curvetune grid small --storage 's3://***@host/bucket'"
    lines = next_lines(read_grid(tmp_path, "small"), tmp_path, command)
    assert all("put in again what *** stands for" in line for line in lines[2:])


def test_every_word_of_a_next_command_is_an_option_that_the_command_has(tmp_path: Path) -> None:
    cells = make_cells(METHODS)
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 70)
    typed = f"curvetune grid small --storage {tmp_path} --data-dir x --plugin y.py"
    for database in (False, True):
        if database:
            (tmp_path / "mlflow.db").touch()
        for words in commands(next_lines(read_grid(tmp_path, "small"), tmp_path, typed)):
            said = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
            assert all(word in said for word in words if word.startswith("--")), words
