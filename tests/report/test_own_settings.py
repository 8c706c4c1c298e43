"""How a setting is said of images that are biased as they are: what was measured, not "1" and "0".

The reference are class sizes that are known by hand: 8, 6 and 5 images to train on.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import matplotlib.text
import polars
import pytest
from image_folder import write_images
from rich.console import Console
from storage_fixtures import DIGEST, finish, write_grid
from typer.testing import CliRunner

import curvetune
from curvetune.analysis.aggregate import grid_json
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.data import find_source
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import Grid, read_grid
from curvetune.grids.labels import setting_of, setting_text
from curvetune.grids.own import class_sizes
from curvetune.known import keep_facts, sizes_of
from curvetune.report.figures.of_grid import heat
from curvetune.report.tables.main import render
from curvetune.status.table import live_view, progress_json
from curvetune.store.facts import write_facts
from curvetune.tracking.base import Run
from curvetune.tracking.sync.runs import cell_data, cell_spec, grid_spec

SIZES = [120, 40, 10]  # 12:1
AS_IT_IS = ("as it is, 12:1", "noise unknown")


def cell(name: str = "folder", **bias: Any) -> CellConfig:
    data = {"name": name, "meta_per_class": 0}
    data |= {"variant": "0.4"} if name.startswith("cnwl") else {}
    return CellConfig.model_validate({"data": data, "bias": bias})


def text_of(name: str = "folder", **bias: Any) -> str:
    return setting_text(setting_of(cell(name, **bias).model_dump(mode="json"), SIZES))


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    write_facts(tmp_path, DIGEST, {"class_sizes": {"train": SIZES, "test": [5, 5, 5]}})
    found = cell(noise="real")
    write_grid(tmp_path, [found])
    finish(tmp_path, found, 60.0)
    return read_grid(tmp_path, "small")


@pytest.mark.parametrize("name", ["folder", "list", "hf", "shards", "clothing1m", "imagenet_lt"])
@pytest.mark.parametrize("bias", [{}, {"noise": "real"}, {"noise": "flip"}])
def test_data_of_its_own_says_what_was_measured_and_that_nobody_knows_its_noise(
    name: str, bias: dict[str, Any]
) -> None:
    assert text_of(name, **bias) == "as it is, 12:1, noise unknown"


def test_what_is_added_is_said_beside_what_was_there() -> None:
    assert text_of(imbalance=10) == "imbalance 10 (as it is 12:1), noise unknown"
    noisy = text_of(noise="flip", noise_rate=0.2)
    assert noisy == "as it is, 12:1, noise unknown + 0.2 flip"
    assert text_of("cnwl_red") == "as it is, 12:1, noise 0.4 of its own"


def test_data_that_is_cut_to_a_bias_is_called_as_before() -> None:
    assert text_of("cifar10", imbalance=10) == "imbalance 10, noise none"
    assert text_of("cifar10", noise="human-worse") == "imbalance 1, noise human-worse"
    assert text_of("digits", noise="flip", noise_rate=0.4) == "imbalance 1, noise 0.4 flip"


def test_without_a_count_it_is_as_it_is() -> None:
    config = cell(noise="real").model_dump(mode="json")
    assert setting_text(setting_of(config)) == "as it is, noise unknown"
    config["data"]["per_class_limit"] = 30
    assert setting_of(config, SIZES).own_imbalance == 3


def test_a_damaged_count_is_none(tmp_path: Path) -> None:
    for damaged in ([1, -2], [True], "12", [1.5]):
        write_facts(tmp_path, DIGEST, {"class_sizes": {"train": damaged}})
        assert class_sizes(tmp_path, DIGEST) is None


def test_every_table_of_a_report_says_it(grid: Grid, tmp_path: Path) -> None:
    for form in ("markdown", "latex", "html"):
        text = render(tmp_path, "small", form)
        assert all(part in text for part in AS_IT_IS), form
        assert "imbalance 1" not in text, form
    header = next(csv.reader(io.StringIO(render(tmp_path, "small", "csv"))))
    assert "as it is, 12:1, noise unknown" in header


def test_json_says_it_beside_the_numbers_that_it_always_had(grid: Grid, tmp_path: Path) -> None:
    for found in (
        grid_json(grid)["cells"][0],
        progress_json(grid_progress(grid), tmp_path)["cells"][0],
    ):
        assert (found["imbalance"], found["noise"], found["noise_rate"]) == (1, "real", 0)
        assert found["setting"] == "as it is, 12:1, noise unknown"
    assert grid_json(grid)["methods"][0]["settings"][0]["own_imbalance"] == 12
    frame = curvetune.Results(tmp_path).cells("small")
    assert isinstance(frame, polars.DataFrame)
    assert frame["setting"].to_list() == ["as it is, 12:1, noise unknown"]


def test_status_and_the_live_table_say_it(grid: Grid, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "small", "--storage", str(tmp_path)])
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(live_view(grid_progress(grid), rows=9))
    assert "12:1" in done.stdout
    assert "unknown" in done.stdout


def test_the_tracker_is_told_it(grid: Grid) -> None:
    (one,) = grid.cells
    spec = cell_spec(grid, one, Run("1", "RUNNING", {}, {}, ""), "#0072b2")
    wanted = {"imbalance": "as it is, 12:1", "noise": "unknown", "noise_rate": "unknown"}
    assert {key: spec.params[key] for key in wanted} == wanted
    assert all(part in spec.name for part in AS_IT_IS)
    data = cell_data(grid, one)
    assert data is not None
    assert data.name == "folder, as it is, 12:1, noise unknown"
    assert (data.profile["noise_rate"], data.profile["own_imbalance"]) == (None, 12)
    assert grid_spec(grid).name == "small"


def test_a_heat_map_calls_its_axes_so(grid: Grid) -> None:
    found = {text.get_text() for text in heat(grid, "last").findobj(matplotlib.text.Text)}
    assert {"as it is, 12:1", "unknown"} <= found


def test_a_plan_of_a_folder_counts_it(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    words = ["plan", "folder", "--data-dir", tmp_path / "images", "--storage", tmp_path / "storage"]
    shown = CliRunner().invoke(app, [*map(str, words)])
    assert shown.exit_code == 0, shown.output
    assert "as it is, 1.6:1" in shown.stdout
    assert "unknown" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*map(str, words), "--json"]).stdout)
    assert found["settings"] == ["as it is, 1.6:1, noise unknown"]


def test_a_grid_that_begins_keeps_the_count(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    source = find_source("folder")
    dataset, digest = source.load(tmp_path / "images"), source.digest(tmp_path / "images")
    keep_facts(source.report(tmp_path / "images"), dataset, sizes_of(dataset), digest, tmp_path)
    assert class_sizes(tmp_path, digest) == [8, 6, 5]
    assert class_sizes(tmp_path, digest, "test") == [3, 3, 2]
