"""What a newcomer finds in MLflow: tables, data, models and views, and the pages themselves."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chromium import chromium
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from tracking_helpers import (
    cell_name,
    mlflow_server,
    new_tracker,
    points_of,
    runs_of,
    small,
)
from trained_grid import GRID, train_grid

from curvetune import data
from curvetune.config import CellConfig
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import report_json
from curvetune.store.arrays import load_arrays
from curvetune.tracking.base import DATABASE, default_uri
from curvetune.tracking.sync.thread import sync
from curvetune.tracking.sync.views import CELLS, METHODS, TAG, cells_name, saved_views, share_key


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("database")
    new_tracker(root)
    return root / DATABASE


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    shutil.copy(empty_database, tmp_path / DATABASE)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on two noise rates, really trained for three epochs."""
    root = tmp_path_factory.mktemp("trained")
    train_grid(root)
    return root


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[str]:
    """What `curvetune ui` starts on that storage; the grid and its models are synced through it."""
    with mlflow_server(trained) as port:
        uri = f"http://127.0.0.1:{port}"
        sync(trained, GRID, new_tracker(trained, uri), log_models=True)
        yield uri


def experiment_of(root: Path, grid: str, uri: str | None = None) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri or default_uri(root)).get_experiment_by_name(grid)


def artifact(run: Any, name: str, uri: str) -> Path:
    from mlflow import MlflowClient

    return Path(MlflowClient(uri).download_artifacts(run.info.run_id, name))


def test_levels_params_and_metrics_have_stable_names_and_are_numbers(root: Path) -> None:
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    levels = {name: run.data.tags["curvetune.level"] for name, run in runs.items()}
    assert levels["small"] == "grid"
    assert levels["curvenet"] == levels["cross-entropy"] == "method"
    for cell in cells:
        run = runs[cell_name(cell)]
        assert levels[cell_name(cell)] == "cell"
        numbers = ["imbalance", "noise_rate", "seed"]
        if cell.method.name == "curvenet":
            numbers += ["skip_layers", "embedding_dim", "removed_losses"]
        for key in numbers:
            float(run.data.params[key])
        assert run.data.tags["curvetune.label"] == cell.method.name
    assert "curvetune.label" not in runs["curvenet"].data.tags  # a group is of cells alone


def test_data_and_bias_are_inputs_of_every_run_once(root: Path) -> None:
    cells = small(root, 4)
    for _ in range(2):
        sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    for cell in cells:
        (used,) = runs[cell_name(cell)].inputs.dataset_inputs
        assert used.dataset.digest == cell.split_id(DIGEST)
        profile = json.loads(used.dataset.profile)
        assert profile["imbalance"] == cell.bias.imbalance
        assert profile["noise_rate"] == cell.bias.noise_rate
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    (whole,) = runs["small"].inputs.dataset_inputs
    assert whole.dataset.digest == DIGEST[:36]


def test_notes_and_files_say_what_the_report_says(root: Path) -> None:
    small(root, 4)
    sync(root, "small", new_tracker(root))
    runs = runs_of(root)
    note = runs["curvenet"].data.tags["mlflow.note.content"]
    assert "MA 62.00 % (2 of 2 cells done)" in note
    assert "| imbalance 10 | 63.00 |" in note.replace(", noise 0.4", "")
    top = runs["small"].data.tags["mlflow.note.content"]
    assert "How to read this" in top
    folder = root / "mlartifacts" / "small"
    of_grid = folder / runs["small"].info.run_id / "artifacts"
    tables, figures = (
        {"report.md", "report.csv"},
        {"ma.svg", "heat.svg", "settings.svg", "heat-difference.svg"},
    )
    assert {path.name for path in of_grid.iterdir()} == {*tables, *figures, "accuracy-cost.svg"}
    cells = (folder / runs["curvenet"].info.run_id / "artifacts" / "cells.md").read_text()
    assert cells.count("| done |") == 2


def test_an_unfinished_grid_never_shows_a_mean_over_fewer_cells(root: Path) -> None:
    small(root, 3)
    sync(root, "small", new_tracker(root))
    note = runs_of(root)["curvenet"].data.tags["mlflow.note.content"]
    assert "MA – % (1 of 2 cells done)" in note
    assert "0/1" in note


def test_views_are_tags_of_the_experiment_that_mlflow_takes(root: Path) -> None:
    small(root, 4)
    sync(root, "small", new_tracker(root))
    tags = experiment_of(root, "small").tags
    views = {key: json.loads(text) for key, text in tags.items() if key.startswith(TAG)}
    assert {view["name"] for view in views.values()} == {METHODS, CELLS}
    methods = json.loads(views[TAG + share_key(METHODS)]["state"])
    assert [chart["metricKey"] for chart in methods["compareRunCharts"]] == ["ma"]
    cells = json.loads(views[TAG + share_key(CELLS)]["state"])
    scatter, parallel = cells["compareRunCharts"]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == ("noise_rate", "accuracy")
    assert {"skip_layers", "embedding_dim", "removed_losses"} <= {*parallel["selectedParams"]}
    assert cells["groupBy"]["groupByKeys"][0]["groupByData"] == "curvetune.label"
    assert "How to read this" in tags["mlflow.note.content"]


def test_a_view_of_more_cells_than_mlflow_loads_is_of_one_seed_and_says_so(tmp_path: Path) -> None:
    cells = make_cells(noise_rates=(0.0, 0.1, 0.2, 0.3, 0.4), seeds=tuple(range(6)))  # 120
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 50)
    grid = read_grid(tmp_path, "small")
    assert cells_name(grid) == f"{CELLS}, seed 0"
    state = json.loads(json.loads(saved_views(grid)[TAG + share_key(CELLS)])["state"])
    assert "params.`seed` = '0'" in state["searchFilter"]
    many = make_cells(noise_rates=tuple(k / 100 for k in range(60)), seeds=(0,))  # 240 of a seed
    write_grid(tmp_path, many, "many")
    views = saved_views(read_grid(tmp_path, "many"))
    assert "groupBy" not in json.loads(json.loads(views[TAG + share_key(CELLS)])["state"])


def test_everything_is_there_once_when_a_server_was_down_in_between(root: Path) -> None:
    from curvetune.errors import BackendError

    class Failing:
        def __init__(self, tracker: Any, left: int) -> None:
            self._tracker, self._left = tracker, left

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                self._left -= 1
                if self._left < 0:
                    raise BackendError("MLflow is down")
                return getattr(self._tracker, name)(*arguments)

            return call

    small(root, 4)
    tries, allowed = 0, 3
    while True:
        tries, allowed = tries + 1, allowed + 4
        tracker: Any = Failing(new_tracker(root), allowed)
        try:
            sync(root, "small", tracker)
        except BackendError:
            continue
        break
    assert tries > 3
    runs = runs_of(root)  # asserts that every name is there once
    assert set(points_of(root).values()) == {1}
    assert all(len(run.inputs.dataset_inputs) == 1 for n, run in runs.items() if "seed" in n)
    assert len([key for key in experiment_of(root, "small").tags if key.startswith(TAG)]) == 2


@pytest.mark.slow
def test_a_model_is_safetensors_with_a_signature_and_logged_on_demand_only(
    trained: Path, server: str
) -> None:
    from mlflow.models import Model
    from safetensors.torch import load_file

    from curvetune import models

    for name, run in runs_of(trained, GRID, server).items():
        if "seed" not in name:
            assert "curvetune.model" not in run.data.tags
            continue
        folder = artifact(run, "model", server)
        assert {path.name for path in folder.iterdir()} == {"MLmodel", "model.safetensors"}
        signature = Model.load(folder).signature
        assert signature.inputs.inputs[0].shape == (-1, 1, -1, -1)
        assert signature.outputs.inputs[0].shape == (-1, 10)
        model = models.build("resnet8", 10, 1)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        dataset = data.load("digits")
        cell = trained / "cells" / run.data.tags["curvetune.cell_id"]
        text = json.loads((cell / "config.json").read_text())
        text.pop("data_digest")
        split_id = CellConfig.model_validate(text).split_id(data.digest("digits"))
        split, _ = load_arrays(trained / "splits" / f"{split_id}.safetensors")
        pixels = torch.tensor((dataset.test.x[split["test"]] - dataset.mean[0]) / dataset.std[0])
        with torch.no_grad():
            hits = model(pixels.float()).argmax(1).numpy() == dataset.test.y[split["test"]]
        accuracy = json.loads((cell / "DONE.json").read_text())["accuracy"]
        assert 100 * hits.mean() == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.slow
def test_a_server_has_the_files_and_a_second_sync_sends_none(trained: Path, server: str) -> None:
    class Counting:
        def __init__(self, tracker: Any) -> None:
            self._tracker, self.calls = tracker, list[str]()

        def __getattr__(self, name: str) -> Any:
            self.calls.append(name)
            return getattr(self._tracker, name)

    tracker: Any = Counting(new_tracker(trained, server))
    sync(trained, GRID, tracker, log_models=True)
    assert not {"write_files", "use_data", "describe"} & {*tracker.calls}
    top = runs_of(trained, GRID, server)[GRID]
    text = artifact(top, "report.csv", server).read_text()
    assert text.splitlines()[0].startswith("method,ma,")


def test_a_damaged_model_is_left_out_and_the_rest_is_there(
    root: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(root, 4)  # whose models are empty files
    sync(root, "small", new_tracker(root), log_models=True)
    assert "its model is not logged" in caplog.text
    assert runs_of(root)["curvenet"].data.metrics["ma"] == 62


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def seen(browser: Any, url: str, *texts: str) -> str:
    """Return the text of a page once it shows all `texts`."""
    browser.get("about:blank")
    browser.get(url)
    deadline = time.monotonic() + 60
    text = ""
    while time.monotonic() < deadline:
        text = browser.execute_script("return document.body ? document.body.innerText : ''")
        text = " ".join(text.split())
        if all(wanted in text for wanted in texts):
            return text
        time.sleep(0.3)
    missing = [wanted for wanted in texts if wanted not in text]
    raise AssertionError(f"{url} never showed {missing}; it shows:\n{text}")


def page_of(trained: Path, server: str) -> str:
    number = experiment_of(trained, GRID, server).experiment_id
    return f"{server}/#/experiments/{number}"


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_of_methods_shows_the_ma_of_the_report(
    trained: Path, server: str, browser: Any
) -> None:
    rows = {row["method"]: row["ma"] for row in report_json(trained, GRID)["methods"]}
    url = f"{page_of(trained, server)}/runs?viewStateShareKey={share_key(METHODS)}"
    numbers = [f"{value:.10g}"[:7] for value in rows.values()]
    seen(browser, url, METHODS, *rows, *numbers, "2 matching runs")
    shown = [f"{value:.2f}" for value in rows.values()]
    seen(browser, f"{url}&compareRunsMode=CHART", "curvetune (1)", *rows, *shown)


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_of_cells_groups_them_and_draws_both_charts(
    trained: Path, server: str, browser: Any
) -> None:
    url = f"{page_of(trained, server)}/runs?viewStateShareKey={share_key(CELLS)}"
    chart = f"{url}&compareRunsMode=CHART"
    names = ("noise_rate vs. accuracy", "Group: curvenet", "Group: cross-entropy")
    seen(browser, chart, *names, "skip_layers", "embedding_dim", "removed_losses")
    for cell in report_json(trained, GRID)["cells"]:
        seen(browser, url, f"{cell['accuracy']:.4g}")


@pytest.mark.browser
@pytest.mark.slow
def test_the_pages_of_single_runs_load(trained: Path, server: str, browser: Any) -> None:
    runs = runs_of(trained, GRID, server)
    base = f"{page_of(trained, server)}/runs"
    top = f"{base}/{runs[GRID].info.run_id}"
    seen(browser, top, GRID, "How to read this", "curvetune grid tiny", "Training")
    seen(browser, f"{base}/{runs['curvenet'].info.run_id}", "curvenet", "2 of 2 cells done")
    name = next(name for name in runs if name.startswith("curvenet,"))
    seen(browser, f"{base}/{runs[name].info.run_id}/artifacts/model", "MLmodel", "safetensors")
