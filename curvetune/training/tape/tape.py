"""A step that can be done again, with other batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.jit import optimized_execution  # type: ignore[attr-defined]

from curvetune.batch import Batch
from curvetune.methods.base import Method
from curvetune.methods.shared.optimizers import Call
from curvetune.training.tape.graph import Names, Part
from curvetune.training.tape.recording import Called, Operation, Recording, RefusedError

Pair = tuple[Batch, Batch | None]
Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class _Call:
    function: Call
    takes: list[int]


class Tape:
    """The operations of a step, and the calls of Python between them."""

    def __init__(self, recording: Recording, pair: Pair, metrics: Metrics) -> None:
        """Make it of what was recorded.

        Raises:
            RefusedError: the step cannot be repeated.
        """
        if recording.refused is not None:
            raise RefusedError(recording.refused)
        names = Names()
        self._given = [names.made(tensor) for tensor in _tensors(pair)]
        self._steps: list[Part | _Call] = []
        for group in _groups(recording.events):
            self._steps.append(_made(group, names))
        self._metrics = {name: _number(names, value) for name, value in metrics.items()}
        needed = set(self._metrics.values())
        for step in reversed(self._steps):
            if isinstance(step, Part):
                step.finish(needed)
            needed.update(step.takes)

    def __call__(self, pair: Pair) -> Metrics:
        """Do the step with another pair of batches; return its metrics."""
        found = dict(zip(self._given, _tensors(pair), strict=True))
        with torch.no_grad(), optimized_execution(False):
            for step in self._steps:
                taken = [found[number] for number in step.takes]
                if isinstance(step, Part):
                    found.update(zip(step.gives, step(taken), strict=True))
                else:
                    step.function(taken)
        return {name: found[number] for name, number in self._metrics.items()}


def record(method: Method, pair: Pair) -> tuple[Metrics, Tape | str]:
    """Take a step; return its metrics, and its tape or why there is none."""
    recording = Recording()
    with recording.going():
        metrics = method.step(*pair)
    try:
        return metrics, Tape(recording, pair, metrics)
    except Exception as error:  # of TorchScript, which does not know all that there is: many kinds
        return metrics, first_line(error)


def first_line(error: Exception) -> str:
    """Return what an error says, without the graph that TorchScript prints."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _tensors(pair: Pair) -> list[Tensor]:
    return [tensor for batch in pair if batch is not None for tensor in batch]


def _groups(events: Sequence[Operation | Called]) -> Iterable[list[Operation] | Called]:
    """Yield runs of operations, and the calls between them."""
    run: list[Operation] = []
    for event in events:
        if isinstance(event, Operation):
            run.append(event)
            continue
        yield run
        yield event
        run = []
    yield run


def _made(group: list[Operation] | Called, names: Names) -> Part | _Call:
    if isinstance(group, Called):
        return _Call(group.function, [_number(names, tensor) for tensor in group.tensors])
    return Part(group, names)


def _number(names: Names, tensor: Tensor) -> int:
    number = names.of(tensor)
    if number is None:
        raise RefusedError("a step returns, or descends by, what no operation made")
    return number
