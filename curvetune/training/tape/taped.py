"""An engine for CPUs: steps of small networks are recorded once and done again from the tape."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from curvetune.batch import Batch
from curvetune.methods.base import Method
from curvetune.training.tape.tape import Metrics, Pair, Tape, first_line, record

KNOWN = {"curvetune", "torch", "torchvision"}
ONCE_SEEN = 2  # how often a kind of step comes in an epoch before it is recorded

logger = logging.getLogger(__name__)


class Taped:
    """Does most steps from a tape: one for each shape of batch, phase and learning rate.

    The first step of a kind is an ordinary one, which also makes what is made once. The first that
    is recorded, and the first that is repeated, are compared with the ordinary step from the same
    state: in all bits of the metrics and of the method's state. If one differs, or if a step cannot
    be recorded, the method has ordinary steps from then on. A recorded step may differ in its last
    bits: that of MobileNet does (findings/watching_a_backward_pass_changes_gradients.sh).

    Methods and networks of plugins have ordinary steps too. Nobody knows what theirs do in Python:
    what a step does at its hundredth time only is not found out by a comparison of the first ones.

    Args:
        anyone: take methods and networks of others as well, as a test does.
    """

    def __init__(self, *, anyone: bool = False) -> None:
        self._anyone = anyone
        self.repeated = 0  # steps that were done from a tape, those that were compared apart
        self.refused: str | None = None  # why there are ordinary steps alone
        self._phase: object = None
        self._rates: list[float] = []
        self._tapes: dict[Any, Tape] = {}
        self._checked: set[Any] = set()  # kinds whose tapes are right

    def run(self, method: Method, pairs: Iterable[Pair]) -> Iterator[tuple[Batch, Metrics]]:
        """Yield each batch with the metrics of its step, in order."""
        self._follow(method)
        seen: Counter[Any] = Counter()
        for pair in pairs:
            kind = tuple(None if batch is None else batch.x.shape for batch in pair)
            seen[kind] += 1
            is_due = seen[kind] >= ONCE_SEEN or kind in self._checked
            yield pair[0], self._step(method, pair, kind, is_due=is_due)

    def _follow(self, method: Method) -> None:
        """Forget what was recorded of another phase, or at another learning rate."""
        if self.refused is None and not self._anyone and not is_ours(method):
            self._refuse("it, or its network, is not one of curvetune's own")
        rates = learning_rates(method)
        if method.phase != self._phase:
            self._checked.clear()
        if method.phase != self._phase or rates != self._rates:
            self._tapes.clear()
        self._phase, self._rates = method.phase, rates

    def _step(self, method: Method, pair: Pair, kind: Any, *, is_due: bool) -> Metrics:
        tape = self._tapes.get(kind)
        if self.refused is not None or (tape is None and not is_due):
            return method.step(*pair)
        if tape is None:
            return self._recorded(method, pair, kind)
        if kind not in self._checked:
            return self._compared(method, pair, kind, tape)
        self.repeated += 1
        return tape(pair)

    def _recorded(self, method: Method, pair: Pair, kind: Any) -> Metrics:
        """Record a step of a kind; the first one only if that changes none of its bits."""
        if kind in self._checked:
            metrics, made = record(method, pair)
            self._keep(kind, made)
            return metrics
        before = _Snapshot(method)
        expected = method.step(*pair)
        after = _Snapshot(method)
        before.restore()
        metrics, made = record(method, pair)
        if isinstance(made, str) or not (_same(expected, metrics) and after.holds()):
            self._refuse(made if isinstance(made, str) else "a step differs when it is recorded")
            after.restore()
        else:
            self._keep(kind, made)
        return expected

    def _keep(self, kind: Any, made: Tape | str) -> None:
        """Keep a tape, or give up for the reason that is in its place."""
        if isinstance(made, str):
            self._refuse(made)
        else:
            self._tapes[kind] = made

    def _compared(self, method: Method, pair: Pair, kind: Any, tape: Tape) -> Metrics:
        """Take an ordinary step, and see whether the tape does the same; leave what it leaves."""
        before = _Snapshot(method)
        expected = method.step(*pair)
        after = _Snapshot(method)
        before.restore()
        try:
            found = tape(pair)
        except RuntimeError as error:  # TorchScript looks an operation up when it first runs
            self._refuse(first_line(error))
            after.restore()
            return expected
        if _same(expected, found) and after.holds():
            self._checked.add(kind)
        else:
            self._refuse("a repeated step differs from an ordinary one")
            after.restore()
        return expected

    def _refuse(self, why: str) -> None:
        logger.debug("steps are not done from a tape: %s", why)
        self.refused = why
        self._tapes.clear()


def is_ours(method: Method) -> bool:
    """Say whether a method and all parts of its network come with curvetune, or with PyTorch."""
    parts = [method, *method.model.modules()]
    return {type(part).__module__.partition(".")[0] for part in parts} <= KNOWN


def learning_rates(method: Method) -> list[float]:
    """Return the learning rates of a method's optimizers, which a tape has as numbers."""
    return [float(group["lr"]) for o in method.state.optimizers() for group in o.param_groups]


class _Snapshot:
    """All that a step may change of a method, as it is now."""

    def __init__(self, method: Method) -> None:
        self._tensors = method.state.tensors()
        self._values = [tensor.detach().clone() for tensor in self._tensors]
        self._generators = [torch.default_generator, *method.state.generators()]
        self._states = [generator.get_state() for generator in self._generators]

    def restore(self) -> None:
        """Bring all of it back."""
        with torch.no_grad():
            for tensor, value in zip(self._tensors, self._values, strict=True):
                tensor.copy_(value)
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)

    def holds(self) -> bool:
        """Say whether all of it is the same now."""
        now = [generator.get_state() for generator in self._generators]
        return all(map(_equal, self._tensors, self._values)) and all(
            map(torch.equal, now, self._states)
        )


def _same(expected: Metrics, found: Metrics) -> bool:
    return expected.keys() == found.keys() and all(
        _equal(expected[name], found[name]) for name in expected
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
