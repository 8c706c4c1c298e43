"""What the commands show of a grid that several commands have run, and how a grid is named."""

import json
from pathlib import Path

import pytest
from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

import curvetune
from curvetune.cli import app
from curvetune.cli.run import _tell_of_more
from curvetune.errors import ConfigError
from curvetune.places import Places
from curvetune.planning.selection import parse_selection
from curvetune.run import _grid_file, make_plan
from curvetune.store import CellStore

CE = {"name": "cross-entropy"}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Sixteen cells, and then a command for four of them."""
    cells = make_cells()
    write_grid(tmp_path, cells)
    write_grid(tmp_path, make_cells([CE], seeds=[0]))
    for cell in cells:
        finish(tmp_path, cell, 60.0)
    return tmp_path


def invoke(storage: Path, *words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--storage", str(storage)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("command", ["report", "status"])
def test_all_sixteen_cells_are_shown_unless_only_the_last_are_asked_for(
    storage: Path, command: str
) -> None:
    whole = json.loads(invoke(storage, command, "small", "--json"))
    last = json.loads(invoke(storage, command, "small", "--only-last", "--json"))
    assert (len(whole["cells"]), len(last["cells"])) == (16, 4)
    assert json.loads(invoke(storage, command, "small@last", "--json")) == last


def test_figures_are_of_all_cells_or_of_the_last(storage: Path, tmp_path: Path) -> None:
    invoke(storage, "figures", "small", "--only", "settings", "--out", tmp_path / "whole")
    invoke(
        storage, "figures", "small", "--only-last", "--only", "settings", "--out", tmp_path / "l"
    )
    (whole,), (last,) = (list((tmp_path / name).iterdir()) for name in ("whole", "l"))
    assert "curvenet" in whole.read_text()
    assert "curvenet" not in last.read_text()


def test_results_show_all(storage: Path) -> None:
    results = curvetune.Results(storage)
    assert (len(results.cells("small")), len(results.cells("small@last"))) == (16, 4)


def test_so_does_the_page(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_grid(tmp_path, cells := make_cells([CE], [1], [0.4], [seed]))
        finish(tmp_path, cells[0], 60.0)
    counts = []
    for more in ([], ["--only-last"]):
        invoke(tmp_path, "report", "small", *more, "--html", tmp_path / "page.html")
        counts.append((tmp_path / "page.html").read_text().count('id="cell-'))
    assert counts == [2, 1]


def test_status_lists_other_grids_of_a_name(storage: Path) -> None:
    write_grid(storage, make_cells(model={"name": "resnet20"}))
    grids = json.loads(invoke(storage, "status", "--json"))["grids"]
    (kept,) = CellStore(storage).kept("small")
    assert [one["grid"] for one in grids] == ["small", kept]
    assert [one["done"] for one in grids] == [0, 16]
    assert len(json.loads(invoke(storage, "report", kept, "--json"))["cells"]) == 16


def test_only_last_of_every_grid_at_once_is_refused(storage: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--only-last", "--storage", str(storage)])
    assert isinstance(done.exception, ConfigError)


def planned(storage: Path, **options: str) -> list[str]:
    """Record what a command for digits has; return what it told."""
    told: list[str] = []
    profile, name = options.pop("profile", "release"), options.pop("name", "")
    chosen = parse_selection("digits", "", "0", profile, [], name=name)
    plan = make_plan(chosen, Places(None, storage), told.append)
    CellStore(storage).write_grid(plan.name, _grid_file(plan, "c"))
    return told


def test_a_plan_says_that_the_name_is_another_grids_and_how_to_name_it(tmp_path: Path) -> None:
    assert planned(tmp_path, profile="smoke") == []
    (said,) = planned(tmp_path)
    assert "another grid of this name, of 12 cells with other data.test_limit, data." in said
    assert "Nothing of it is lost" in said
    assert "--name NAME" in said
    assert planned(tmp_path) == []
    assert planned(tmp_path, profile="smoke", name="digits-smoke") == []
    assert CellStore(tmp_path).grids() == ["digits", "digits-smoke"]


def test_a_name_that_is_no_file_name_is_refused() -> None:
    for bad in ("a/b", "a b", "../x", "-x", "x@y", "a" * 129):
        with pytest.raises(ConfigError, match=r"--name .* allowed are letters"):
            parse_selection("digits", "", "", "release", [], name=bad)


def test_python_names_a_grid_too(tmp_path: Path) -> None:
    plan = curvetune.plan("digits", seeds=1, storage=tmp_path, name="mine")
    assert plan.name == "mine"
    assert "--name mine" in plan.command


def test_a_narrower_command_says_that_the_tables_have_more(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = parse_selection("digits", "cross-entropy", "0", "release", [], name="whole")
    plan = make_plan(chosen, Places(None, storage), lambda _: None)
    CellStore(storage).write_grid("whole", _grid_file(plan, "c"))
    _tell_of_more(plan, storage)
    assert capsys.readouterr().err == ""
    more = parse_selection("digits", "gce", "0", "release", [], name="whole")
    other = make_plan(more, Places(None, storage), lambda _: None)
    CellStore(storage).write_grid("whole", _grid_file(other, "c"))
    _tell_of_more(plan, storage)
    said = capsys.readouterr().err
    assert "the tables have all 8 cells" in said
    assert "curvetune report whole --only-last" in said
