"""`curvetune.Results` against the files of a small grid, read with nothing of `report`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from storage_fixtures import DIGEST, EPOCHS, finish, make_cells, write_grid
from typer.testing import CliRunner

import curvetune
from curvetune import data
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.results import Results
from curvetune.store import CellStore

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid without training; the last of 16 cells is not done."""
    root = tmp_path_factory.mktemp("made-up")
    cells = make_cells()
    write_grid(root, cells)
    for k, cell in enumerate(cells[:-1]):
        finish(root, cell, 50 + k)
    return root


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real cells of few images and epochs, one with curves and weights."""
    root = tmp_path_factory.mktemp("real")
    digest, dataset = data.digest("digits"), data.load("digits")
    cells = [
        CellConfig.model_validate(
            {
                "data": {"name": "digits", "per_class_limit": 12, "test_limit": 20},
                "bias": {"imbalance": 1, "noise": "symmetric", "noise_rate": 0.3},
                "model": {"name": "resnet8"},
                "probe": {"epochs": 4, "cyclic_start": 2, "half_period": 1, "batch_size": 32},
                "allocate": {"epochs": 3, "warmup": 0, "milestones": [2], "batch_size": 32},
                "method": method,
            }
        )
        for method in ({"name": "curvenet", "removed_losses": 1}, {"name": "cross-entropy"})
    ]
    for cell in cells:
        run_cell(cell, digest, dataset, root, device=torch.device("cpu"))
    entries = [
        {
            "cell_id": cell.cell_id(digest),
            "probe_id": cell.probe_id(digest),
            "config": cell.model_dump(mode="json"),
        }
        for cell in cells
    ]
    CellStore(root).write_grid("g", {"command": "x", "data_digest": digest, "cells": entries})
    return root


def cell_of(root: Path, method: str) -> str:
    cells = Results(root).cells("g").filter(pl.col("method") == method)
    return str(cells["cell_id"][0])


def test_import_curvetune_stays_light_and_results_need_no_pytorch(made_up: Path) -> None:
    code = (
        "import sys, curvetune\n"
        "assert not {'polars', 'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)\n"
        f"assert len(curvetune.Results({str(made_up)!r}).cells('small')) == 16\n"
        "assert not {'torch', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert curvetune.Results is Results
    with pytest.raises(AttributeError, match="no attribute 'Result'"):
        getattr(curvetune, "Result")  # noqa: B009


def test_cells_are_those_of_the_json_report(made_up: Path) -> None:
    frame = Results(made_up).cells("small")
    told = CliRunner().invoke(app, ["report", "small", "--storage", str(made_up), "--json"])
    listed = json.loads(told.stdout)["cells"]
    assert frame["accuracy"].to_list() == [cell["accuracy"] for cell in listed]
    assert frame["accuracy"].null_count() == 1
    assert {"imbalance", "noise_rate", "seed", "skip_layers"} <= set(frame.columns)


def test_the_history_has_every_epoch_of_both_stages(made_up: Path) -> None:
    results = Results(made_up)
    frame = results.history("small")
    stages = frame.group_by("cell_id", "stage").len()
    assert stages.filter(pl.col("stage") == "allocate")["len"].to_list() == [EPOCHS] * 15
    first = make_cells()[0].cell_id(DIGEST)
    of_one = results.history(first[:10])
    assert of_one.drop("cell_id", "stage").to_dicts()[-1]["accuracy"] == 50
    rows = (made_up / "cells" / first / "history.jsonl").read_text().splitlines()
    assert of_one["loss"].to_list() == [json.loads(row)["loss"] for row in rows]


def test_the_table_is_the_markdown_of_the_report(made_up: Path) -> None:
    results = Results(made_up)
    told = (
        CliRunner()
        .invoke(
            app,
            ["report", "small", "--storage", str(made_up), "--table", "MA", "--format", "markdown"],
        )
        .stdout
    )
    table: Any = results.table("small", "ma")
    assert "| cross-entropy |" in table
    assert table == told
    assert table._repr_markdown_() == str(table)
    with pytest.raises(ConfigError, match="did you mean 'cells'"):
        results.table("small", "cell")


def test_curves_and_weights_are_the_stored_arrays_with_their_labels(real: Path) -> None:
    results, cell = Results(real), cell_of(real, "curvenet")
    curves = results.curves(cell)
    (file,) = real.glob("probes/*/curves.npy")
    stored = np.load(file)
    assert np.array_equal(curves["loss"].to_numpy().reshape(stored.shape), stored)
    one = curves.filter(pl.col("sample") == 7)
    assert one["epoch"].to_list() == list(range(4))
    weights = results.weights(cell)
    labels = data.load("digits").train.y
    assert weights["true_label"].to_list() == labels[weights["index"].to_numpy()].tolist()
    assert one["given_label"][0] == weights["given_label"][7]
    assert (weights["is_wrong"] == (weights["given_label"] != weights["true_label"])).all()
    gap = weights.group_by("is_wrong").agg(pl.col("weight").mean()).sort("is_wrong")["weight"]
    done = json.loads((real / "cells" / cell / "DONE.json").read_text())
    assert gap[0] - gap[1] == pytest.approx(done["weight_gap"], abs=1e-6)


def test_a_cell_without_curves_or_result_says_so(real: Path, made_up: Path) -> None:
    results = Results(real)
    plain = cell_of(real, "cross-entropy")
    with pytest.raises(ConfigError, match="cross-entropy has no probe"):
        results.curves(plain)
    assert "weight" not in results.weights(plain).columns
    with pytest.raises(ConfigError, match="no result yet"):
        Results(made_up).weights(make_cells()[-1].cell_id(DIGEST))
    with pytest.raises(ConfigError, match="no such folder"):
        Results(real / "nowhere")


def test_the_example_runs_and_says_what_the_report_says(real: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "compare.py"), str(real)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 2 cells are missing" in done.stdout
    assert str(Results(real).table("g", "ma")) in done.stdout


def test_figures_are_those_of_the_command(made_up: Path) -> None:
    results = Results(made_up)
    figure = results.figure("small", "heat")
    assert "cross-entropy" in [axes.get_title() for axes in figure.axes]
    with pytest.raises(ConfigError, match="figure 'heet': allowed are"):
        results.figure("small", "heet")
    with pytest.raises(ConfigError, match="'weights' is of a cell that is done"):
        results.figure("small", "weights")


def test_every_call_understands_a_grid_with_a_method(real: Path, made_up: Path) -> None:
    results, cell = Results(real), cell_of(real, "curvenet")
    for call in (results.curves, results.weights):
        assert call("g/curvenet").equals(call(cell))
    assert results.history("g/curvenet").equals(results.history(cell))
    assert results.cells("g/curvenet")["cell_id"].to_list() == [cell]
    assert results.figure("g", "weights", cell="g/curvenet") is not None
    assert len(results.suspects("g/curvenet", top=3)) == 3
    with pytest.raises(ConfigError, match="small/curvenet is 8 cells; give the id of one"):
        Results(made_up).curves("small/curvenet")
    with pytest.raises(ConfigError, match="grid small has no method 'nothing'"):
        Results(made_up).cells("small/nothing")


def test_labels_and_names_of_methods_are_called_so(made_up: Path) -> None:
    frame = Results(made_up).cells("small")
    assert set(frame["method"]) == {"cross-entropy", "curvenet"}
    assert "label" in frame.columns
    assert "name" not in frame.columns


def test_completion_shows_what_there_is_to_call(made_up: Path) -> None:
    import curvetune

    assert dir(curvetune) == ["Results", "__version__", "plan", "train"]
    names = dir(Results(made_up))
    assert {"cells", "curves", "figure", "table"} <= set(names)
    assert not any(name.startswith("_") for name in names)
