"""A captured and an ordinary step agree; here up to the capture itself, which needs a GPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from toy import CASES, Case, pairs_of, tensors, toy, train_on

from curvetune.data.sets.reading import ArrayPixels
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.sets.streamed import StreamedSet
from curvetune.data.source import Dataset, Images
from curvetune.errors import ConfigError
from curvetune.planning.options import parse_engine
from curvetune.training.engine import (
    ENGINE,
    Eager,
    Graphs,
    cuda_graph,
    engine_for,
    generators,
)
from curvetune.training.tape.taped import Taped

SIZES = (*(12,) * 13, 5)
train = partial(train_on, sizes=SIZES, epochs=3)


class Recorder:
    """Stands in for a CUDA graph: replays by running the same work on the same tensors."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, work: Callable[[], None], drawn: list[torch.Generator]) -> Any:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


@pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])
def test_replayed_steps_end_bit_for_bit_where_ordinary_ones_do(case: Case) -> None:
    ordinary, replayed, recorder = toy(case), toy(case), Recorder()
    expected = train(ordinary, Eager())
    found = train(replayed, Graphs(recorder, samples_per_replay=36))
    assert recorder.replayed > 0
    assert len(found) == len(expected)
    for (index, metrics), (other_index, other_metrics) in zip(expected, found, strict=True):
        assert torch.equal(index, other_index)
        assert metrics.keys() == other_metrics.keys()
        assert all(torch.equal(metrics[name], other_metrics[name]) for name in metrics)
    ends = tensors(ordinary.state.state_dict()), tensors(replayed.state.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_graph_is_recorded_once_for_each_shape_and_phase() -> None:
    method: Any = toy(("cross-entropy", {}))
    recorder = Recorder()
    engine = Graphs(recorder, samples_per_replay=36)
    train(method, engine, epochs=6)  # four groups of 3 batches, one of 1, and the ragged one
    assert recorder.recorded == 3
    method.phase = "another"
    train(method, engine, epochs=6)
    assert recorder.recorded == 6


class Refusing:
    """Stands in for a CUDA graph of which a capture fails, of the given ones."""

    def __init__(self, error: Exception, refused: Callable[[int], bool]) -> None:
        self.asked = 0
        self._error = error
        self._refused = refused
        self._other = Recorder()

    def __call__(self, work: Callable[[], None], drawn: list[torch.Generator]) -> Any:
        self.asked += 1
        if self._refused(self.asked):
            raise self._error
        return self._other(work, drawn)


CAPTURE = torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing")


@pytest.mark.parametrize("refused", [lambda _: True, lambda n: n == 2], ids=["all", "one"])
@pytest.mark.parametrize("case", CASES[::6], ids=[name for name, _ in CASES[::6]])
def test_a_capture_that_fails_costs_no_number_and_is_told_once(
    case: Case, refused: Callable[[int], bool], caplog: pytest.LogCaptureFixture
) -> None:
    ordinary, other, recorder = toy(case), toy(case), Refusing(CAPTURE, refused)
    expected = train(ordinary, Eager(), epochs=4)
    found = train(other, Graphs(recorder, samples_per_replay=36), epochs=4)
    assert recorder.asked <= 12  # three shapes in each of four epochs, at most
    for (index, metrics), (other_index, other_metrics) in zip(expected, found, strict=True):
        assert torch.equal(index, other_index)
        assert all(torch.equal(metrics[name], other_metrics[name]) for name in metrics)
    ends = tensors(ordinary.state.state_dict()), tensors(other.state.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    (told,) = [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()]
    assert "operation not permitted when stream is capturing" in told
    assert "changes no number" in told


def test_memory_that_runs_out_in_a_capture_is_a_failure_of_its_own() -> None:
    recorder = Refusing(torch.OutOfMemoryError("CUDA out of memory"), lambda _: True)
    with pytest.raises(torch.OutOfMemoryError):
        train(toy(("cross-entropy", {})), Graphs(recorder, samples_per_replay=36))


def test_a_step_that_was_refused_is_not_tried_again_in_its_phase() -> None:
    recorder = Refusing(CAPTURE, lambda _: True)
    method: Any = toy(("cross-entropy", {}))
    engine = Graphs(recorder, samples_per_replay=36)
    train(method, engine, epochs=6)
    assert recorder.asked == 3  # of as many shapes
    method.phase = "another"
    train(method, engine, epochs=6)
    assert recorder.asked == 6


def test_the_engine_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4, np.int64)
    none = Images(x[:0], y[:0])
    facts = Dataset("toy", none, none, ("a",), (0.0,), (1.0,), pad=1, flip=False)
    resident, cuda = ResidentSet(x, y, facts, torch.device("cpu")), torch.device("cuda")
    monkeypatch.setenv(ENGINE, "eager")
    assert isinstance(engine_for(resident, cuda), Eager)
    monkeypatch.setenv(ENGINE, "graphs")
    assert isinstance(engine_for(resident, cuda), Graphs)
    monkeypatch.setenv(ENGINE, "grahps")
    with pytest.raises(ConfigError, match="CURVETUNE_ENGINE='grahps': allowed are eager, graphs"):
        engine_for(resident, cuda)
    with pytest.raises(ConfigError, match="--engine 'grahps': allowed are graphs, eager"):
        parse_engine("grahps")


def test_a_gpu_with_the_images_gets_graphs_a_cpu_tapes_and_what_is_streamed_plain_steps() -> None:
    x, y = np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4, np.int64)
    none = Images(x[:0], y[:0])
    facts = Dataset("toy", none, none, ("a",), (0.0,), (1.0,), pad=1, flip=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    resident = ResidentSet(x, y, facts, cpu)
    streamed = StreamedSet(ArrayPixels(x), y, facts, cpu)
    assert isinstance(engine_for(resident, cpu), Taped)
    assert isinstance(engine_for(resident, cuda), Graphs)
    for device in (cpu, cuda):
        assert isinstance(engine_for(streamed, device), Eager)  # neither can read


def test_the_generators_of_a_method_are_those_in_its_state() -> None:
    method = toy(("cross-entropy", {}))
    assert generators(method) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])
def test_a_captured_step_agrees_with_an_ordinary_one_on_a_gpu(case: Case) -> None:
    device = torch.device("cuda")
    ends = []
    for engine in (Eager(), Graphs(cuda_graph)):
        method = toy(case, device=device)
        epochs = [
            [tuple(type(b)(*(t.to(device) for t in b)) for b in pair) for pair in epoch]
            for epoch in (pairs_of(SIZES, number) for number in range(6))
        ]
        for epoch, epoch_pairs in enumerate(epochs):
            method.start_epoch(epoch)
            for _ in engine.run(method, epoch_pairs):  # type: ignore[arg-type]
                pass
        ends.append(tensors(method.state.state_dict()))
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
