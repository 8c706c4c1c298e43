"""The meta step and the whole iteration are timed on what trials run on."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from curvetune import data, methods
from curvetune.config import CellConfig
from curvetune.errors import CorruptError
from curvetune.planning.plan import build_plan
from curvetune.planning.resources import LaunchOptions
from curvetune.planning.space import Space
from curvetune.report.tables.step_times import read_step_times, step_times_sheet
from curvetune.store.files import write_json
from curvetune.training import step_time
from curvetune.training.step_time import time_steps
from curvetune.tune.step_times import cells_to_time, measure_step_times

CPU = torch.device("cpu")


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=1, num_gpus=0, include_dashboard=False, logging_level="CRITICAL")
    yield
    ray.shutdown()


def cell(**method: Any) -> CellConfig:
    return CellConfig.model_validate(
        {
            "model": {"name": "resnet8"},
            "allocate": {"batch_size": 16, "warmup": 0},
            "method": {"name": "curvenet", "meta_batch_size": 16, **method},
        }
    )


class Sleeper:
    """A method whose steps take known times."""

    def __init__(self, learning: float, asking: float) -> None:
        self.times = {True: learning, False: asking}

    def start_epoch(self, epoch: int) -> None:
        assert epoch == 0

    def step(self, batch: object, meta: object) -> dict[str, Any]:
        time.sleep(self.times[meta is not None])
        return {}


def test_the_meta_step_is_what_learning_adds_to_an_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods, "build", lambda *_: Sleeper(0.06, 0.02))
    found = time_steps(cell(), data.load("digits"), CPU, budget_s=0.0)
    assert found.pairs == step_time.LEAST
    assert found.iteration_ms[1] == pytest.approx(60, abs=20)
    assert found.meta_ms[1] == pytest.approx(40, abs=20)
    assert found.meta_ms == tuple(sorted(found.meta_ms))


def test_a_real_step_has_a_meta_step_in_it() -> None:
    found = time_steps(cell(skip_layers=1), data.load("digits"), CPU, budget_s=0.0)
    assert 0 < found.meta_ms[1] < found.iteration_ms[1]


def test_a_method_without_weights_has_no_meta_step() -> None:
    plain = CellConfig.model_validate({"method": {"name": "cross-entropy"}})
    with pytest.raises(ValueError, match="cross-entropy learns no sample weights"):
        time_steps(plain, data.load("digits"), CPU)


def test_each_method_is_timed_once_whatever_the_bias() -> None:
    cells = [cell(skip_layers=k).model_copy(update={"seed": s}) for s in (0, 1) for k in (0, 3)]
    cells.append(CellConfig.model_validate({"method": {"name": "cross-entropy"}}))
    plan = build_plan(
        Space("few", tuple(cells)), "d", is_done=lambda _: True, has_probe=lambda _: True
    )
    assert [c.method.skip_layers for c in cells_to_time(plan)] == [0, 3]  # type: ignore[union-attr]


@pytest.mark.ray
def test_the_times_of_a_grid_are_kept_beside_it(cluster: None, tmp_path: Path) -> None:
    cells = tuple(cell(skip_layers=k) for k in (0, 3))
    plan = build_plan(Space("few", cells), "d", is_done=lambda _: True, has_probe=lambda _: True)
    options = LaunchOptions(gpus_per_trial=0.0)
    measure_step_times(plan, data.load("digits"), tmp_path, options, budget_s=0.0)
    kept = json.loads((tmp_path / "step_times" / "few.json").read_text())
    assert [step["method"]["skip_layers"] for step in kept["steps"]] == [0, 3]
    assert kept["device"].startswith("cpu")
    assert kept["steps"][1]["meta_ms"][1] < kept["steps"][0]["meta_ms"][1]


def test_the_table_of_times_is_against_the_first_method(tmp_path: Path) -> None:
    step = {"model": "resnet32", "batch_size": 128, "iteration_ms": [400, 410, 420], "pairs": 9}
    steps = [
        {**step, "method": {"name": "curvenet", "skip_layers": 0}, "meta_ms": [230, 240, 250]},
        {**step, "method": {"name": "curvenet", "skip_layers": 3}, "meta_ms": [40, 42, 44]},
    ]
    found = {"grid": "few", "device": "a GPU", "threads": 1, "steps": steps}
    write_json(tmp_path / "step_times" / "few.json", found)
    assert read_step_times(tmp_path, "other") is None
    sheet = step_times_sheet(read_step_times(tmp_path, "few") or {})
    assert sheet.rows == (
        (
            "curvenet skip_layers=0",
            "240.0 (230.0 to 250.0)",
            "1.00×",
            "410.0 (400.0 to 420.0)",
            "9",
        ),
        ("curvenet skip_layers=3", "42.0 (40.0 to 44.0)", "5.71×", "410.0 (400.0 to 420.0)", "9"),
    )
    assert "resnet32, batch 128, a GPU" in sheet.title


@pytest.mark.parametrize(
    "found", [{}, {"steps": []}, {"steps": 5}, {"steps": [{"method": {"name": "x"}}]}]
)
def test_times_that_nobody_measured_are_refused(found: dict[str, Any]) -> None:
    with pytest.raises(CorruptError, match="not a record of times"):
        step_times_sheet(found)
