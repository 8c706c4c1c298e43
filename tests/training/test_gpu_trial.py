"""`doctor --gpu` finds what a device cannot do; here with stand-ins, since there is no GPU."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.config import METHOD_SECTIONS
from curvetune.conformance.gpu import Row, facts, markdown, try_device
from curvetune.conformance.gpu.sharing import rates
from curvetune.conformance.gpu.trial import bfloat16_row, memory_row, method_row
from curvetune.errors import BackendError

CPU = torch.device("cpu")


def faithful(work: Callable[[], None], _: Any) -> Callable[[], None]:
    return work


def refusing(_: Callable[[], None], __: Any) -> Callable[[], None]:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def idle(work: Callable[[], None], _: Any) -> Callable[[], None]:
    """A capture whose replays leave everything as it is."""
    work()
    return lambda: None


def test_a_method_whose_graphs_do_as_its_steps_do_is_well() -> None:
    row = method_row("curvenet", CPU, faithful)
    assert (row.status, row.found) == ("ok", "bit for bit the same"), row
    assert row.eager_ms is not None
    assert row.graph_ms is not None
    assert min(row.eager_ms, row.graph_ms) > 0


def test_a_method_that_cannot_be_captured_is_told_with_the_reason_and_costs_speed_alone() -> None:
    row = method_row("cross-entropy", CPU, refusing)
    assert row.status == "warn"
    assert row.graph_ms is None
    assert "runs eagerly: RuntimeError: CUDA error: operation not permitted" in row.found
    assert "more" not in row.found


def test_replays_that_end_elsewhere_are_a_failure_which_says_what_is_safe() -> None:
    row = method_row("cross-entropy", CPU, idle)
    assert row.status == "fail"
    assert "--engine eager is safe" in row.found


def test_a_method_that_breaks_is_a_row_and_no_traceback() -> None:
    def broken(_: Callable[[], None], __: Any) -> Callable[[], None]:
        raise ValueError("of no capture")

    assert method_row("glc", CPU, broken) == Row("glc", "fail", "ValueError: of no capture")


def test_when_the_time_is_over_the_methods_that_are_left_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("curvetune.conformance.gpu.trial.rates", lambda _: (100.0, 150.0))
    rows = list(try_device(CPU, record=faithful, limit_s=0.0))
    assert [row.what for row in rows[:3]] == [
        "out of memory, and back",
        "bfloat16",
        "two cells at once",
    ]
    assert all(row.status != "fail" for row in rows)
    assert rows[-1].found == f"not tried in 0 s: {', '.join(METHOD_SECTIONS)}"


def test_sixteen_bits_are_held_to_thirty_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bfloat16_row(CPU).status == "ok"
    build = torch.nn.Linear(3 * 32 * 32, 10)

    def other(*_: Any, precision: str, **__: Any) -> torch.nn.Module:
        sign = 1 if precision == "float32" else -1
        return torch.nn.Sequential(torch.nn.Flatten(), build, Scaled(sign))

    monkeypatch.setattr("curvetune.conformance.gpu.trial.models.build", other)
    row = bfloat16_row(CPU)
    assert row.status == "fail"
    assert "cosine of the logits -1.00000" in row.found


class Scaled(torch.nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.by * x


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_that_runs_out_on_a_gpu_is_there_again() -> None:
    assert memory_row(torch.device("cuda")).status == "ok"


@pytest.mark.slow
def test_two_processes_are_measured_against_one() -> None:
    alone, together = rates(CPU, measured_s=0.3)
    assert 0 < together < 10 * alone


def test_the_table_can_be_pasted_into_an_issue() -> None:
    rows = [Row("a|b", "ok", "well", 1.234, 0.5), Row("c", "warn", "slow")]
    lines = markdown(facts(CPU), rows).splitlines()
    assert lines[0].startswith("device cpu")
    assert f"torch {torch.__version__}" in lines[0]
    assert lines[2] == "| what | status | eager ms | graphs ms | found |"
    assert lines[4] == "| a/b | ok | 1.23 | 0.50 | well |"
    assert lines[5] == "| c | warn |  |  | slow |"
    assert lines[-1] == "1 ok, 0 note, 1 warn, 0 fail"
    assert json.loads(json.dumps(rows[0].to_json()))["eager_ms"] == 1.234


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_what_does_say_why() -> None:
    result = CliRunner().invoke(app, ["doctor", "--gpu"])
    assert isinstance(result.exception, BackendError)
    assert "`curvetune doctor` says why" in str(result.exception)
