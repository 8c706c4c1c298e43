"""MLflow's limits: nothing is cut in silence, and one refused value costs no other."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import finish, make_cells, write_grid
from tracking_helpers import mlflow_server, new_tracker, runs_of

from curvetune.tracking import limits
from curvetune.tracking.base import DataSpec, Point, RunSpec, Tracker, default_uri
from curvetune.tracking.sync.thread import sync

KEY = ("curvetune.grid", "g")
MARK = re.compile(r"… \(all ([\d,]+) characters: artifact ([^,]+), [0-9a-f]{8}\)$")


@pytest.fixture(scope="module", params=["sqlite", "server"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow that refuses what it would cut in silence."""
    root = tmp_path_factory.mktemp("limits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
        if request.param == "sqlite":
            yield default_uri(root)
            return
        with mlflow_server(root) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture
def grid(request: pytest.FixtureRequest) -> str:
    """A name of its own for the experiment of each test."""
    return re.sub(r"\W", "-", request.node.name)[:100]


def spec(grid: str, **more: Any) -> RunSpec:
    return RunSpec(grid, KEY, more.pop("name", "run"), None, **more)


def stored(uri: str, run_id: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri).get_run(run_id)


def file_of(uri: str, run_id: str, name: str) -> str:
    from mlflow import MlflowClient

    return Path(MlflowClient(uri).download_artifacts(run_id, name)).read_text(encoding="utf-8")


def tracker_at(tmp_path: Path, uri: str) -> Tracker:
    return new_tracker(tmp_path, uri)


def test_the_limits_are_those_of_the_mlflow_that_is_installed() -> None:
    from mlflow.utils import validation

    assert limits.LONGEST == {
        "params": validation.MAX_PARAM_VAL_LENGTH,
        "tags": validation.MAX_TAG_VAL_LENGTH,
    }
    assert limits.LONGEST_KEY == validation.MAX_ENTITY_KEY_LENGTH
    assert limits.AT_ONCE == validation.MAX_PARAMS_TAGS_PER_BATCH
    assert limits.BYTES_AT_ONCE < validation.MAX_BATCH_LOG_REQUEST_SIZE
    assert limits.LONGEST_EXPERIMENT_TAG <= validation.MAX_EXPERIMENT_TAG_VAL_LENGTH
    assert limits.LONGEST_DATA_NAME == validation.MAX_DATASET_NAME_SIZE


@pytest.mark.parametrize("length", [5999, 6000, 6001, 8000, 8001, 100_000])
@pytest.mark.parametrize("kind", ["params", "tags"])
def test_a_long_text_ends_with_where_the_whole_of_it_is(
    tmp_path: Path, uri: str, grid: str, kind: str, length: int
) -> None:
    whole = ("äβ-" * length)[:length]
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid, **{kind: {"text": whole}}))
    data = stored(uri, run.run_id).data
    found = getattr(data, kind)["text"]
    if length <= limits.LONGEST[kind]:
        assert found == whole
        return
    assert len(found) == limits.LONGEST[kind]
    mark = MARK.search(found)
    assert mark is not None
    assert whole.startswith(found[: mark.start()])
    assert int(mark[1].replace(",", "")) == length
    assert file_of(uri, run.run_id, mark[2]) == whole


def test_texts_that_differ_at_their_ends_alone_are_different(
    tmp_path: Path, uri: str, grid: str
) -> None:
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid))
    for end in ("one", "two"):
        tracker.log(run, [], {"text": "x" * 9000 + end})
        assert file_of(uri, run.run_id, "tags/text.txt").endswith(end)
    before = stored(uri, run.run_id).data.tags["text"]
    tracker.log(run, [], {"text": "x" * 9000 + "two"})
    assert stored(uri, run.run_id).data.tags["text"] == before


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_no_number_and_its_place_is_told(
    tmp_path: Path, uri: str, grid: str, value: float
) -> None:
    from mlflow import MlflowClient

    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid))
    tracker.log(run, [Point("loss", 1.0, 0, 10.0), Point("other", 2.0, 0, 10.0)], {})
    tracker.log(run, [Point("loss", value, 1, 11.0), Point("other", 3.0, 1, 11.0)], {"seen": "1"})
    tracker.log(run, [Point("third", value, 4, 12.0)], {})
    history = [p.value for p in MlflowClient(uri).get_metric_history(run.run_id, "loss")]
    assert history[0] == 1.0
    assert math.isnan(history[1])
    data = stored(uri, run.run_id).data
    assert math.isnan(data.metrics["loss"])
    assert data.metrics["other"] == 3.0
    assert data.tags["seen"] == "1"
    told = json.loads(data.tags["curvetune.infinite"])
    assert told == {"loss": f"{value:g} at step 1", "third": f"{value:g} at step 4"}


def test_a_param_with_another_value_is_told_once_and_costs_nothing(
    tmp_path: Path, uri: str, grid: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracker_at(tmp_path, uri).run(spec(grid, params={"a": "1", "b": "2"}))
    later = tracker_at(tmp_path, uri)
    run = later.run(spec(grid, params={"a": "9", "b": "2", "c": "3"}, tags={"t": "new"}))
    later.log(run, [Point("loss", 1.0, 0, 10.0)], {})
    later.run(spec(grid, params={"a": "9", "b": "2", "c": "3"}))
    data = stored(uri, run.run_id).data
    assert data.params == {"a": "1", "b": "2", "c": "3"}
    assert data.metrics == {"loss": 1.0}
    assert data.tags["t"] == "new"
    (line,) = caplog.messages
    assert f"param 'a' is '1' in run 'run' of experiment {grid!r}, and '9' here" in line


def test_a_param_that_another_process_set_meanwhile_costs_nothing_else(
    tmp_path: Path, uri: str, grid: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = tracker_at(tmp_path, uri)
    first.run(spec(grid))  # it has seen the run without params
    tracker_at(tmp_path, uri).run(spec(grid, params={"b": "theirs", "c": "same"}))
    wanted = {"a": "1", "b": "ours", "c": "same", "d": "4"}
    run = first.run(spec(grid, params=wanted, tags={"t": "new"}))
    data = stored(uri, run.run_id).data
    assert data.params == {"a": "1", "b": "theirs", "c": "same", "d": "4"}
    assert data.tags["t"] == "new"
    (line,) = caplog.messages
    assert "'theirs'" in line
    assert "'ours'" in line


NAMES = {
    "auc(%)": "metric",
    "loss@10": "metric",
    "größe/ω": "fine",
    "a//b": "metric",
    "/abs": "metric",
    "../up": "metric",
    ".": "metric",
    "": "metric",
    "new\nline": "metric",
    "k" * 300: "metric",
    "plain/loss 1:2.x-y": "fine",
}


def test_names_that_mlflow_does_not_take_get_others_and_all_values_arrive(
    tmp_path: Path, uri: str, grid: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid, params=dict.fromkeys(NAMES, "p")))
    points = [Point(name, float(k), 0, 10.0) for k, name in enumerate(NAMES)]
    tracker.log(run, points, dict.fromkeys(NAMES, "t"))
    data = stored(uri, run.run_id).data
    keys = {name: limits.key_of(name) for name in NAMES}
    assert len(set(keys.values())) == len(NAMES)
    assert data.metrics == {keys[name]: float(k) for k, name in enumerate(NAMES)}
    assert data.params.keys() == set(keys.values())
    assert data.tags.keys() >= set(keys.values())
    for name, is_fine in NAMES.items():
        assert (keys[name] == name) == (is_fine == "fine")
        told = [line for line in caplog.messages if f"metric {name!r} has a name" in line]
        assert len(told) == (keys[name] != name)


def test_more_params_and_tags_than_a_request_takes_all_arrive(
    tmp_path: Path, uri: str, grid: str
) -> None:
    tracker = tracker_at(tmp_path, uri)
    params = {f"p{k}": "ä" * 5900 for k in range(120)}  # 35 kB of JSON each
    run = tracker.run(spec(grid, params=params))
    tags = {f"t{k}": str(k) for k in range(250)}
    tracker.log(run, [Point("loss", float(k), k, 10.0) for k in range(990)], tags)
    data = stored(uri, run.run_id).data
    assert data.params == params
    assert data.tags.items() >= tags.items()
    assert data.metrics == {"loss": 989.0}


def test_a_tag_that_is_refused_all_the_same_costs_no_metric_and_no_other_tag(
    tmp_path: Path,
    uri: str,
    grid: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(limits.LONGEST, "tags", 100_000)  # as if the server allowed less
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid))
    tags = {"a": "1", "long": "x" * 9000, "z": "2"}
    tracker.log(run, [Point("loss", 1.0, 0, 10.0)], tags)
    data = stored(uri, run.run_id).data
    assert data.metrics == {"loss": 1.0}
    assert (data.tags["a"], data.tags["z"], "long" in data.tags) == ("1", "2", False)
    (line,) = caplog.messages
    assert "tag 'long' is refused" in line


def test_long_names_of_runs_and_data_are_marked(tmp_path: Path, uri: str, grid: str) -> None:
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid, name="n" * 300))
    tracker.use_data(run, DataSpec("d" * 600, "digest", "source"))
    tracker.describe(grid, {"mlflow.note.content": "e" * 30_000})
    found = stored(uri, run.run_id)
    assert found.info.run_name == "n" * 249 + "…"
    assert found.inputs.dataset_inputs[0].dataset.name == "d" * 499 + "…"


def test_a_quote_in_the_name_of_a_method_is_found_again(
    tmp_path: Path, uri: str, grid: str
) -> None:
    key = ("curvetune.method", "focal, init=o'brien")
    first = tracker_at(tmp_path, uri).run(RunSpec(grid, key, "x", None))
    assert tracker_at(tmp_path, uri).run(RunSpec(grid, key, "x", None)).run_id == first.run_id


def test_a_name_of_a_file_that_is_no_text_is_shown_escaped(
    tmp_path: Path, uri: str, grid: str
) -> None:
    tracker = tracker_at(tmp_path, uri)
    run = tracker.run(spec(grid, tags={"command": "--data-dir caf\udce9"}))
    assert stored(uri, run.run_id).data.tags["command"] == r"--data-dir caf\udce9"


@pytest.mark.parametrize("size", [1, 99, 100, 101, 1000])
def test_batches_have_every_value_once_in_order(size: int) -> None:
    values = {f"k{k}": "v" * (k % 7 * 1000) for k in range(size)}
    parts = list(limits.batches(values))
    assert [item for part in parts for item in part.items()] == list(values.items())
    assert all(len(part) <= 100 for part in parts)
    assert all(len(json.dumps(part)) < 600_000 for part in parts)
    assert list(limits.batches({})) == []


@pytest.mark.slow
@pytest.mark.faults
def test_a_note_that_is_too_long_ends_with_where_the_whole_of_it_is(tmp_path: Path) -> None:
    methods = [{"name": "curvenet", "embedding_dim": k} for k in range(1, 300)]
    cells = make_cells(methods, imbalances=(1,), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path, cells)
    for cell in cells[:2]:
        finish(tmp_path, cell, 60)
    sync(tmp_path, "small", new_tracker(tmp_path))
    run = runs_of(tmp_path)["small"]
    note = run.data.tags["mlflow.note.content"]
    mark = MARK.search(note)
    assert mark is not None
    assert file_of(default_uri(tmp_path), run.info.run_id, mark[2]).startswith(note[: mark.start()])
