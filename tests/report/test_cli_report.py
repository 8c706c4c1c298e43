import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from storage_fixtures import add_epochs, fail, finish, make_cells, write_grid
from typer.testing import CliRunner, Result

from curvetune.cli import info, report
from curvetune.config import METHOD_SECTIONS
from curvetune.errors import ConfigError
from curvetune.tracking import server

app = typer.Typer()
for command in (report.status, report.report, info.methods, info.ui):
    app.command()(command)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cells: two done, one failed, one running."""
    root = tmp_path_factory.mktemp("storage")
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,), seeds=(0,))
    write_grid(root, cells)
    finish(root, cells[0], 70)
    finish(root, cells[1], 80)
    fail(root, cells[2], "RuntimeError: no luck")
    add_epochs(root, cells[3], 1, start=time.time())
    return root


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def as_json(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_report_prints_the_table_to_stdout(storage: Path) -> None:
    result = run("report", "small", "--storage", storage)
    assert result.exit_code == 0
    assert "mean accuracy (MA, %) over 2 bias settings" in result.stdout
    assert "80.00" in result.stdout
    assert result.stderr == ""


def test_report_as_json_has_methods_and_cells(storage: Path) -> None:
    found = as_json("report", "small", "--storage", storage, "--select", "best")
    assert (found["schema_version"], found["grid"], found["select"]) == (1, "small", "best")
    assert [row["cells_done"] for row in found["methods"]] == [1, 1]
    assert [cell["state"] for cell in found["cells"]] == ["done", "done", "failed", "running"]


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("markdown", "**small: mean accuracy"),
        ("csv", "method,ma,ma_std"),
        ("latex", r"% needs \usepackage{booktabs}"),
    ],
)
def test_report_prints_the_form_that_is_asked_for(storage: Path, form: str, start: str) -> None:
    result = run("report", "small", "--storage", storage, "--format", form)
    assert result.stdout.startswith(start)
    assert result.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "smal"), r"unknown grid 'smal' \(did you mean 'small'\?\)"),
        (("status", "smal"), r"unknown grid 'smal' \(did you mean 'small'\?\)"),
        (("report", "small", "--format", "latx"), "--format 'latx': allowed are markdown"),
        (("report", "small", "--select", "bset"), r"--select 'bset': allowed .* mean 'best'\?"),
    ],
)
def test_a_wrong_word_is_answered_with_what_is_allowed(
    storage: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(*arguments, "--storage", storage)


def test_status_of_a_grid_shows_each_cell_and_why_one_failed(storage: Path) -> None:
    result = run("status", "small", "--storage", storage)
    assert "allocate 1/4" in result.stdout
    assert "RuntimeError: no luck" in result.stdout
    assert "4 cells: 2 done, 1 running, 1 failed" in result.stdout


def test_status_as_json(storage: Path) -> None:
    found = as_json("status", "small", "--storage", storage)
    assert found["schema_version"] == 1
    assert found["counts"] == {"done": 2, "running": 1, "failed": 1, "stale": 0, "waiting": 0}
    assert found["cells"][2]["error"] == "RuntimeError: no luck"


def test_status_without_a_grid_lists_all_grids(storage: Path) -> None:
    assert "small" in run("status", "--storage", storage).stdout
    counts = {"done": 2, "running": 1, "failed": 1, "stale": 0, "waiting": 0}
    assert as_json("status", "--storage", storage)["grids"] == [{"grid": "small", **counts}]


def test_status_of_an_empty_storage_says_how_to_begin(tmp_path: Path) -> None:
    result = run("status", "--storage", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "`curvetune grid digits` makes one" in result.stderr
    assert as_json("status", "--storage", tmp_path)["grids"] == []


def test_the_storage_comes_from_the_environment(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_STORAGE", str(storage))
    assert len(as_json("report", "small")["cells"]) == 4


def test_reading_creates_nothing(tmp_path: Path) -> None:
    run("status", "--storage", tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_methods_lists_every_method_with_what_it_needs() -> None:
    found = {method["name"]: method for method in as_json("methods")["methods"]}
    assert list(found) == list(METHOD_SECTIONS)
    assert all(method["description"] and method["source"] for method in found.values())
    assert found["curvenet"]["needs_probe"]
    assert found["curvenet"]["needs_meta_set"]
    assert not found["cross-entropy"]["needs_meta_set"]
    table = run("methods").stdout
    assert all(name in table for name in METHOD_SECTIONS)


def test_methods_does_not_import_torch() -> None:
    code = (
        "import sys; from curvetune.cli.info import methods; methods(as_json=True)\n"
        "assert not {'torch', 'ray', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_ui_without_a_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no mlflow\.db yet: run a grid first"):
        run("ui", "--storage", tmp_path)


def test_a_server_that_ends_by_itself_gives_its_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("raise SystemExit(7)")
    assert server.serve([sys.executable, str(script)], "http://127.0.0.1:9", lambda: None) == 7
