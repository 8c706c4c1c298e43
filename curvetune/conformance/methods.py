"""What the loop relies on in a method, each tried on the small problem.

A check returns nothing, or raises `Broken` with what it saw. The same checks are run over
curvetune's own methods by tests/methods/test_methods.py.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from curvetune.config import MethodConfig
from curvetune.conformance.problem import (
    NUM_SAMPLES,
    batch_of,
    batches,
    build,
    tensors,
)
from curvetune.methods import Method

EPOCHS = (0, 5)  # while weights are learned, and after
READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__")
# Operations whose output's shape depends on what is in their input: a captured step has one shape.
DATA_DEPENDENT = ("nonzero", "masked_select", "unique", "_unique2")


class Broken(Exception):
    """What a check saw that must not be."""


Check = Callable[[MethodConfig], None]


def lowers_the_loss(config: MethodConfig) -> None:
    """25 steps on separable images halve the loss."""
    method = build(config)
    method.start_epoch(0)
    losses = [float(method.step(batch, batch)["loss"].mean()) for batch in batches(25)]
    if not losses[-1] < 0.5 * losses[0]:
        raise Broken(f"the mean loss went from {losses[0]:.3g} to {losses[-1]:.3g}, not to half")


def metrics_have_their_shapes(config: MethodConfig) -> None:
    """A step returns `loss`, (B,), and other metrics as (B,) or 0-d, without a graph."""
    method = build(config)
    for epoch in EPOCHS:
        method.start_epoch(epoch)
        metrics = method.step(*[batches(1)[0]] * 2)
        if "loss" not in metrics or metrics["loss"].shape != (20,):
            shape = tuple(metrics["loss"].shape) if "loss" in metrics else "missing"
            raise Broken(f"metrics['loss'] is {shape} for a batch of 20; it has to be (20,)")
        for name, value in metrics.items():
            if value.shape not in ((20,), ()):
                raise Broken(f"metrics[{name!r}] is {tuple(value.shape)}; allowed are (20,) and ()")
            if value.requires_grad:
                raise Broken(f"metrics[{name!r}] holds a graph; return it detached")


def keeps_global_random_state(config: MethodConfig) -> None:
    """Random numbers come from the generators in `parts`, not from PyTorch's global one."""
    state = torch.get_rng_state()
    method = build(config)
    for epoch in EPOCHS:
        method.start_epoch(epoch)
        method.step(*[batches(1)[0]] * 2)
    if not torch.equal(torch.get_rng_state(), state):
        raise Broken("it draws from PyTorch's global generator; draw from parts.draws instead")


def never_waits_for_the_device(config: MethodConfig) -> None:
    """A step reads no number off the device: no .item(), no `if tensor`, no .cpu()."""
    method, batch = build(config), batches(1)[0]
    for epoch in EPOCHS:
        method.start_epoch(epoch)
        method.step(batch, batch)  # an optimizer's first step may look at its own counters
        with _refusing_reads():
            method.step(batch, batch)


def shapes_do_not_depend_on_data(config: MethodConfig) -> None:
    """A step has no operation whose output's shape depends on values, such as x[mask]."""
    method, batch = build(config), batches(1)[0]
    for epoch in EPOCHS:
        method.start_epoch(epoch)
        with _Watching():  # type: ignore[no-untyped-call]
            method.step(batch, batch)


def resumes_bit_for_bit(config: MethodConfig) -> None:
    """A method that is read back from its state ends where it would have."""
    straight, before, after = build(config), build(config), build(config, seed=1)
    _run(straight, 0, 8)
    _run(before, 0, 3)
    after.state.load_state_dict(before.state.state_dict())
    _run(after, 3, 8)
    _compare(straight, after, "after a resume from its state")


def state_is_whole(config: MethodConfig) -> None:
    """`state` holds every tensor that a step changes."""
    one, other = build(config), build(config, seed=1)
    one.start_epoch(0)
    for batch in batches(2):
        one.step(batch, batch)
    other.state.load_state_dict(one.state.state_dict())
    _compare(one, other, "once the state of one is read by another")
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        raise Broken("the model is not in `state`; name it there")


def is_deterministic(config: MethodConfig) -> None:
    """The same seed gives the same numbers."""
    one, other = build(config), build(config)
    _run(one, 0, 3)
    _run(other, 0, 3)
    _compare(one, other, "with the same seed")


def bears_a_batch_of_one(config: MethodConfig) -> None:
    """The last batch of an epoch may have one sample, and a class two."""
    method = build(config)
    for epoch in EPOCHS:
        method.start_epoch(epoch)
        metrics = method.step(batch_of(torch.tensor([NUM_SAMPLES - 1])), batches(1)[0])
        if not torch.isfinite(metrics["loss"]).all():
            raise Broken(f"the loss of a batch of one sample is {metrics['loss'].tolist()}")


CHECKS: dict[str, Check] = {
    "a step lowers the loss": lowers_the_loss,
    "metrics have their shapes": metrics_have_their_shapes,
    "no global random state": keeps_global_random_state,
    "no wait for the device": never_waits_for_the_device,
    "no shape that depends on data": shapes_do_not_depend_on_data,
    "resumes bit for bit": resumes_bit_for_bit,
    "its state is whole": state_is_whole,
    "deterministic": is_deterministic,
    "a last batch of one, a class of two": bears_a_batch_of_one,
}


def _run(method: Method, first: int, last: int) -> None:
    for epoch, batch in list(enumerate(batches(8)))[first:last]:
        method.start_epoch(epoch // 2)
        method.step(batch, batch)


def _compare(one: Method, other: Method, when: str) -> None:
    """Refuse two methods whose states differ."""
    left, right = one.state.state_dict(), other.state.state_dict()
    differing = [
        name
        for name in left
        if len(tensors(left[name])) != len(tensors(right[name]))
        or not all(map(torch.equal, tensors(left[name]), tensors(right[name])))
    ]
    if differing or not tensors(left):
        raise Broken(f"{', '.join(differing) or 'its empty state'} differs {when}")


@contextmanager
def _refusing_reads() -> Iterator[None]:
    """Refuse reads off the device, but for PyTorch's optimizers, whose counter is on the CPU."""
    before = {name: getattr(Tensor, name) for name in READS}

    def refusing(name: str) -> Callable[..., Any]:
        def read(*args: Any) -> Any:
            frame = sys._getframe(1)
            if frame.f_globals.get("__name__", "").startswith("torch.optim"):
                return before[name](*args)
            where = f"{frame.f_code.co_filename}, line {frame.f_lineno}"
            raise Broken(f"a step reads a number off the device with .{name}() ({where})")

        return read

    for name in READS:
        setattr(Tensor, name, refusing(name))
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(Tensor, name, original)


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations whose output's shape depends on values."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        index = args[1] if name == "index" else ()
        by_mask = any(isinstance(part, Tensor) and part.dtype == torch.bool for part in index)
        if by_mask or name in DATA_DEPENDENT:
            raise Broken(
                f"a step runs {name}{' with a mask' if by_mask else ''}, whose output has a shape "
                f"that depends on values; use torch.where or a weight of 0"
            )
        return func(*args, **(kwargs or {}))
