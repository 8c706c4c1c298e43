"""Grids and cells from Python: the same results, addresses and words as from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import curvetune
from curvetune.cli import app
from curvetune.errors import ConfigError

SMALL: dict[str, Any] = {
    "imbalance": 1,
    "noise_rate": 0.4,
    "data.per_class_limit": 30,
    "data.test_limit": 50,
}
TINY = """
base:
  data: {name: digits, per_class_limit: 30, test_limit: 50}
  model: {name: resnet8}
  allocate: {epochs: 2, warmup: 0, milestones: [1], batch_size: 32}
grid:
  seed: [0, 1, 2]
  method: [{name: cross-entropy}, {name: focal}]
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def ids_of_the_command(*arguments: str) -> set[str]:
    done = CliRunner().invoke(app, ["plan", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return {cell["cell_id"] for cell in json.loads(done.stdout)["cells"]}


def test_a_plan_has_the_cells_of_the_command_that_it_names(tmp_path: Path) -> None:
    chosen = ["cross-entropy", "curvenet"]
    plan = curvetune.plan(
        "digits", methods=chosen, seeds=2, set=SMALL, profile="smoke", storage=tmp_path
    )
    words = plan.command.split()
    assert words[:3] == ["curvetune", "grid", "digits"]
    ids = {cell.cell_id for cell in plan.plan.cells}
    assert len(plan) == len(ids) == 4
    arguments = ["digits", "--methods", ",".join(chosen), "--seeds", "0,1", "--profile", "smoke"]
    for key, value in SMALL.items():
        arguments += ["--set", f"{key}={value}"]
    assert ids == ids_of_the_command(*arguments, "--storage", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", [3, [0, 1, 2], "0-2", range(3)])
def test_seeds_are_a_number_a_list_or_a_text(space: Path, tmp_path: Path, seeds: Any) -> None:
    plan = curvetune.plan(space, seeds=seeds, storage=tmp_path)
    assert {cell.config.seed for cell in plan.plan.cells} == {0, 1, 2}


def test_a_plan_says_what_it_comes_to_in_words_and_as_a_table(space: Path, tmp_path: Path) -> None:
    plan = curvetune.plan(space, storage=tmp_path)
    assert repr(plan) == "GridPlan(tiny: 6 cells, 0 done, 6 to run; probes: 0 stored, 0 to run)"
    shown = plan._repr_html_()
    assert "<table>" in shown
    assert "<td>0</td><td>6</td>" in shown.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "digit"}, "unknown search space 'digit'.*did you mean 'digits'"),
        ({"space": "digits", "methods": ["curvnet"]}, "unknown method 'curvnet'.*did you mean"),
        ({"space": "digits", "set": {"imbalanc": 1}}, "imbalanc"),
        ({"space": "digits", "set": {"imbalance": 0}}, "greater than or equal to 1"),
        ({"space": "digits", "profile": "smok"}, "unknown profile 'smok'"),
        ({"space": "folder"}, "give --data-dir"),
    ],
)
def test_what_is_wrong_is_said_as_the_command_says_it(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        curvetune.plan(**arguments, storage=tmp_path)


def test_a_cell_is_trained_here_and_is_the_one_that_a_grid_would_run(
    space: Path, tmp_path: Path
) -> None:
    options = {"data.per_class_limit": 30, "data.test_limit": 50, "model.name": "resnet8"}
    options |= {"allocate.epochs": 2, "allocate.warmup": 0, "allocate.milestones": [1]}
    cell = curvetune.train(
        "focal",
        data="digits",
        seed=1,
        set=options | {"allocate.batch_size": 32},
        storage=tmp_path,
        device="cpu",
    )
    assert 0 <= cell.accuracy <= 100
    assert f"{cell.accuracy:.2f} %" in repr(cell)
    plan = curvetune.plan(space, storage=tmp_path)
    (done,) = [one for one in plan.plan.cells if one.done]
    assert (done.cell_id, done.config.method.name) == (cell.cell_id, "focal")
    again = curvetune.train(
        "focal",
        data="digits",
        seed=1,
        set=options | {"allocate.batch_size": 32},
        storage=tmp_path,
        device="cpu",
    )
    assert again.result == cell.result  # nothing was computed again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "curvnet"}, "curvnet"),
        ({"imbalance": 0.5}, "greater than or equal to 1"),
        ({"noise": "none"}, "noise"),
        ({"set": {"gradual_epochs": 2}}, "none of the chosen methods"),
        ({"set": {"model.name": "resnet9"}}, "resnet9"),
        ({"data": "mnist"}, "mnist"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_in_words(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        curvetune.train(**arguments, storage=tmp_path)
    assert "pydantic" not in str(caught.value)


@pytest.mark.ray
def test_a_plan_runs_through_ray_and_returns_results(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = curvetune.plan(space, methods="focal", seeds=[0, 1], storage=tmp_path / "s")
    results = plan.run(max_concurrent=1)
    frame = results.cells("tiny")
    assert frame["accuracy"].null_count() == 0
    assert frame["method"].to_list() == ["focal", "focal"]
    assert "2 cells, 0 done, 2 to run" in capsys.readouterr().err
    kept = json.loads((tmp_path / "s" / "grids" / "tiny.json").read_text())
    assert kept["command"].startswith("curvetune grid ")
    assert plan.run(progress=False).cells("tiny").equals(frame)
    assert capsys.readouterr().err == ""
