"""How steps are run: one by one, or several at once from a CUDA graph.

A step of a small network is a few hundred kernels of some microseconds each, so on a GPU most of
its time goes into launching them. A CUDA graph launches all of them at once, and the graph may
hold several steps: with a batch of 16, as in the probe's cyclic phase, one launch for eight steps.

A method does not see any of this. It promises that its steps do the same operations on batches of
the same shape as long as its `phase` is the same, and never wait for the device; the conformance
suite holds every method to both. Where a capture fails all the same, steps of that kind are run one
by one: that costs speed and no number. $CURVETUNE_ENGINE chooses: `eager` captures nothing.
"""

import ctypes
import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from curvetune.batch import Batch
from curvetune.data.sets.image_set import ImageSet
from curvetune.errors import ConfigError, printable
from curvetune.methods.base import Method
from curvetune.training.failures import is_out_of_memory
from curvetune.training.tape.taped import Taped

Pair = tuple[Batch, Batch | None]  # a training batch, and a meta batch where the method takes one
Metrics = dict[str, Tensor]
Replay = Callable[[], None]  # does the captured work again, on the same tensors

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
ONE_GIB = 1 << 30
WARM_UP = 3  # runs before a capture, as PyTorch asks: lazy initialisation, autotuning of cuDNN
SAMPLES_PER_REPLAY = 128  # steps are put together up to so many samples; not measured
ENGINE = "CURVETUNE_ENGINE"
KINDS = ("eager", "graphs")

logger = logging.getLogger(__name__)


def prepare(device: torch.device) -> None:
    """Set the process up for training on `device`; safe to call again.

    On a CPU, glibc gives every freed activation back to the kernel, which must clear the pages
    again for the next one: half of an evaluation's time and a tenth of a training step's
    (docs/measurements.md). Freed memory is kept instead, up to the process's peak.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, ONE_GIB)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * ONE_GIB - 1)


class Engine(Protocol):
    """Runs the steps of an epoch."""

    def run(self, method: Method, pairs: Iterable[Pair]) -> Iterator[tuple[Batch, Metrics]]:
        """Yield each batch with the metrics of its step, in order.

        The metrics are good until the next ones are asked for: a graph writes to the same tensors.
        """
        ...


class Eager:
    """Runs every step as it is."""

    def run(self, method: Method, pairs: Iterable[Pair]) -> Iterator[tuple[Batch, Metrics]]:
        """Yield each batch with the metrics of its step, in order."""
        for batch, meta in pairs:
            yield batch, method.step(batch, meta)


def engine_for(train: ImageSet, device: torch.device) -> Engine:
    """Return graphs for a GPU, tapes for a CPU, and plain steps for images that are streamed.

    A step may ask a streamed set for images, and a graph cannot read. What does not fit is mostly
    trained with large networks, whose kernels take longer than their launch.

    Raises:
        ConfigError: $CURVETUNE_ENGINE is no engine.
    """
    kind = os.environ.get(ENGINE) or "graphs"
    if kind not in KINDS:
        raise ConfigError(f"{ENGINE}={printable(kind)!r}: allowed are {', '.join(KINDS)}")
    if train.reads or kind == "eager":
        return Eager()
    return Graphs(cuda_graph) if device.type == "cuda" else Taped()


class Recorder(Protocol):
    """Captures work for replay: `cuda_graph`, or a stand-in where there is no GPU."""

    def __call__(self, work: Callable[[], None], generators: list[torch.Generator]) -> Replay: ...


def cuda_graph(work: Callable[[], None], generators: list[torch.Generator]) -> Replay:
    """Return a CUDA graph of `work`, which is recorded here and not run.

    Where that fails, the stream and the generators are as before: a capture that broke off leaves
    its stream the current one, and its generators where they draw for nothing but a graph.

    Args:
        generators: what `work` draws from; each replay draws anew and moves them on.

    Raises:
        RuntimeError: an operation of `work` cannot be captured, or memory ran out.
    """
    stream = torch.cuda.current_stream()
    states = [generator.clone_state() for generator in generators]
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        with torch.cuda.graph(graph):
            work()
    except BaseException:
        torch.cuda.set_stream(stream)
        for generator, state in zip(generators, states, strict=True):
            generator.graphsafe_set_state(state)
        raise
    return graph.replay


class Graphs:
    """Captures the steps of a method once for each phase and shape, and replays them.

    The first runs of a kind are ordinary steps, made on a stream of their own where there is a
    GPU, as the warm-up that a capture needs: no step is lost and none is made twice. A capture
    that fails has run nothing, so its steps are ordinary ones too, from then on.
    """

    def __init__(self, record: Recorder, samples_per_replay: int = SAMPLES_PER_REPLAY) -> None:
        self._record = record
        self._samples = samples_per_replay
        self._phase: object = None
        self._graphs: dict[Any, _Graph | None] = {}  # None: it cannot be captured
        self._runs: dict[Any, int] = {}
        self._is_told = False

    def run(self, method: Method, pairs: Iterable[Pair]) -> Iterator[tuple[Batch, Metrics]]:
        """Yield each batch with the metrics of its step, in order."""
        if method.phase != self._phase:  # graphs of an earlier phase are never used again
            self._phase = method.phase
            self._graphs.clear()
            self._runs.clear()
        for group in _groups(pairs, self._samples):
            yield from self._run(method, group)

    def _run(self, method: Method, group: list[Pair]) -> Iterator[tuple[Batch, Metrics]]:
        key = tuple(_shape(pair) for pair in group)
        self._runs[key] = self._runs.get(key, 0) + 1
        if self._runs[key] > WARM_UP and key not in self._graphs:
            self._graphs[key] = self._captured(method, group)
        graph = self._graphs.get(key)
        if graph is None:
            for batch, meta in group:
                yield batch, _on_a_side_stream(method, batch, meta)
            return
        yield from zip((batch for batch, _ in group), graph.replay(group), strict=True)

    def _captured(self, method: Method, group: list[Pair]) -> "_Graph | None":
        """Return the graph of some steps; None if they cannot be captured, which is told once."""
        try:
            return _Graph(method, group, self._record)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            if not self._is_told:
                self._is_told = True
                logger.warning(
                    "a step of %s cannot be a CUDA graph (%s); such steps run one by one, which is "
                    "slower and changes no number; --engine eager tries no graphs",
                    type(method).__name__,
                    printable(str(error).strip().partition("\n")[0], 300),
                )
            return None


class _Graph:
    """Some steps on tensors of their own, which inputs are copied to before each replay."""

    def __init__(self, method: Method, group: list[Pair], record: Recorder) -> None:
        self._inputs = [
            (_clone(batch), None if meta is None else _clone(meta)) for batch, meta in group
        ]
        self._metrics: list[Metrics] = []
        self._replay = record(lambda: self._steps(method), generators(method))

    def replay(self, group: list[Pair]) -> list[Metrics]:
        """Make the steps of `group`; return the metrics of each."""
        for mine, pair in zip(self._inputs, group, strict=True):
            for to, batch in zip(mine, pair, strict=True):
                if to is not None and batch is not None:
                    for tensor, value in zip(to, batch, strict=True):
                        tensor.copy_(value)
        self._replay()
        return self._metrics

    def _steps(self, method: Method) -> None:
        self._metrics = [method.step(batch, meta) for batch, meta in self._inputs]


def generators(method: Method) -> list[torch.Generator]:
    """Return the generators that a method draws from while it steps."""
    device = next(method.model.parameters()).device
    return [g for g in method.state.generators() if g.device.type == device.type]


def _groups(pairs: Iterable[Pair], samples: int) -> Iterator[list[Pair]]:
    """Yield runs of pairs of one shape, each of at most `samples` samples but at least one pair."""
    group: list[Pair] = []
    for pair in pairs:
        fits = (len(group) + 1) * len(pair[0].y) <= samples
        if group and not (fits and _shape(pair) == _shape(group[0])):
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _shape(pair: Pair) -> tuple[torch.Size | None, ...]:
    return tuple(None if batch is None else batch.x.shape for batch in pair)


def _clone(batch: Batch) -> Batch:
    return Batch(*(tensor.clone() for tensor in batch))


def _on_a_side_stream(method: Method, batch: Batch, meta: Batch | None) -> Metrics:
    """Make a step where its work is kept apart from the legacy stream, as a capture will be."""
    if batch.x.device.type != "cuda":
        return method.step(batch, meta)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        metrics = method.step(batch, meta)
    torch.cuda.current_stream().wait_stream(stream)
    return metrics
