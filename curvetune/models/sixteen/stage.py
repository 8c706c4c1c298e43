"""A stage of a classifier that runs in 16 bits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from curvetune.models.sixteen.operations import Saved
from curvetune.models.sixteen.tape import Tape, recorded


@dataclass(frozen=True)
class Kept:
    """What a pass of a stage left behind: its value, and what its derivatives need."""

    value: Tensor
    saved: Sequence[Saved]


@dataclass(frozen=True)
class Moving:
    """A value between two stages, and its tangent: both in oneDNN's layout."""

    value: Tensor
    tangent: Tensor


class Stage:
    """The forward of a stage: by its tape where that is possible, else under autocast.

    It is possible in training mode, on a CPU that has bfloat16, if every operation of the stage is
    known; and in evaluation mode for what is frozen in a step. What goes from one such stage to the
    next is in oneDNN's layout; the last one returns ordinary tensors.

    Args:
        otherwise: the forward where it is not.
        is_last: whether what comes next takes ordinary tensors.
    """

    def __init__(
        self, stage: nn.Module, otherwise: Callable[[Tensor], Tensor], *, is_last: bool
    ) -> None:
        self._modules = list(stage.modules())
        self._norms = [m for m in self._modules if isinstance(m, nn.BatchNorm2d)]
        self._otherwise = otherwise
        self._is_last = is_last
        self._tape = recorded(stage)
        self._passes: list[Kept] | None = None
        self._is_frozen = False

    def __call__(self, x: Tensor | Moving) -> Tensor:
        """Return the stage's value."""
        tape = self._tape
        if tape is None or isinstance(x, Moving) or not self._is_possible(tape):
            return self._otherwise(_ordinary(x))
        value: Tensor = _Run.apply(self, tape, _blocked(x), *tape.weights())
        return value.to_dense() if self._is_last else value

    @contextmanager
    def keeping(self) -> Iterator[list[Kept]]:
        """Give what the passes inside leave behind."""
        passes: list[Kept] = []
        self._passes = passes
        try:
            yield passes
        finally:
            self._passes = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let evaluations inside be rounded as steps are; they have no derivatives."""
        self._is_frozen = True
        try:
            yield
        finally:
            self._is_frozen = False

    def move(self, kept: Kept, x: Tensor | Moving) -> Tensor | Moving:
        """Return the value of a pass again, with its tangent: that of forward mode's parameters."""
        assert self._tape is not None, "it made the pass"
        slopes = [_tangent(weight) for weight in self._tape.weights()]
        tangent = self._tape.move(kept.saved, _moving(x), slopes)
        if not self._is_last:
            return Moving(kept.value, tangent)
        return _dual(kept.value.to_dense(), tangent.to_dense())

    def _is_possible(self, tape: Tape) -> bool:
        weights = tape.weights()
        may_evaluate = self._is_frozen and not torch.is_grad_enabled()
        return (
            all(w.dtype == torch.float32 and w.device.type == "cpu" for w in weights)
            and all(n.momentum is not None and (n.training or may_evaluate) for n in self._norms)
            and not any(_is_watched(module) for module in self._modules)
            and has_bfloat16()
        )


def has_bfloat16() -> bool:
    """Say whether oneDNN computes in bfloat16 on this CPU: an x86 with AVX-512."""
    if not (torch.backends.mkldnn.enabled and torch._C._has_mkldnn):
        return False
    is_wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return is_wide and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Run(torch.autograd.Function):
    """A pass of a tape, as one operation of PyTorch."""

    @staticmethod
    def forward(ctx: Any, stage: Stage, tape: Tape, x: Tensor, *weights: Tensor) -> Tensor:
        """Return the value of the stage."""
        value, ctx.saved = tape.run(x, weights)
        ctx.tape = tape
        if stage._passes is not None:
            stage._passes.append(Kept(value, ctx.saved))
        # Not the value itself: it may be among what is saved, and would keep its own graph alive.
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Return the slopes of the input and of all weights."""
        of_x, of_weights = ctx.tape.back(ctx.saved, slope, ctx.needs_input_grad[2])
        return None, None, of_x, *of_weights


def _blocked(x: Tensor) -> Tensor:
    """Return a value in oneDNN's layout, in 16 bits."""
    return x if x.is_mkldnn else x.to_mkldnn(torch.bfloat16)


def _ordinary(x: Tensor | Moving) -> Tensor:
    """Return a value as an ordinary tensor; if it moves, as one of forward mode's."""
    if isinstance(x, Moving):
        return _dual(x.value.to_dense(), x.tangent.to_dense())
    return x.to_dense() if x.is_mkldnn else x


def _moving(x: Tensor | Moving) -> Tensor | None:
    """Return the tangent of a stage's input in oneDNN's layout; None if it does not move."""
    if isinstance(x, Moving):
        return x.tangent
    tangent = forward_ad.unpack_dual(x).tangent  # type: ignore[no-untyped-call]
    return None if tangent is None else _blocked(tangent)


def _tangent(weight: Tensor) -> Tensor:
    value, tangent = forward_ad.unpack_dual(weight)  # type: ignore[no-untyped-call]
    return torch.zeros_like(value) if tangent is None else tangent


def _dual(value: Tensor, tangent: Tensor) -> Tensor:
    made: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return made


def _is_watched(module: nn.Module) -> bool:
    """Say whether somebody wants to see a layer run; the meta gradient does not have to."""
    hooks = module._forward_hooks.values()
    return bool(module._forward_pre_hooks or module._backward_hooks) or not all(
        getattr(hook, "can_be_passed_over", False) for hook in hooks
    )
