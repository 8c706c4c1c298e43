"""Tangents of layers that are cheaper than PyTorch's: see `curvetune.meta.passes`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad


@runtime_checkable
class OwnRule(Protocol):
    """A forward of a module that has its own rule; `Any` is what it keeps and gives on."""

    def keeping(self) -> AbstractContextManager[list[Any]]:
        """Give what its passes inside leave behind."""
        ...

    def move(self, kept: Any, x: Any) -> Any:
        """Return what it returned in a pass, with its tangent."""
        ...

    def frozen(self) -> AbstractContextManager[None]:
        """Let its evaluations inside, without derivatives, be computed as its steps are."""
        ...


class Outputs:
    """What is left of a pass of a network by its parts that have a rule below, or their own."""

    def __init__(self, model: nn.Module) -> None:
        self._found: dict[nn.Conv2d, Tensor] = {}
        self._versions: dict[nn.Conv2d, int] = {}
        self._twice: set[nn.Conv2d] = set()
        self._convolutions = [m for m in model.modules() if type(m) is nn.Conv2d and _is_plain(m)]
        self._own = own_rules(model)
        self._passes: dict[nn.Module, list[Any]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep what is returned meanwhile, detached."""
        with ExitStack() as stack:
            for conv in self._convolutions:
                stack.callback(conv.register_forward_hook(self._keep).remove)
            for module, forward in self._own.items():
                self._passes[module] = stack.enter_context(forward.keeping())
            yield

    def usable(self) -> dict[nn.Module, Any]:
        """Return the outputs of convolutions that ran once, and that nothing wrote to since.

        Of modules with their own rule it is what they kept of the one pass that they made.
        """
        outputs: dict[nn.Module, Any] = {
            conv: output
            for conv, output in self._found.items()
            if conv not in self._twice and output._version == self._versions[conv]
        }
        return outputs | {m: passes[0] for m, passes in self._passes.items() if len(passes) == 1}

    def _keep(self, conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        if conv in self._found:
            self._twice.add(conv)
        self._found[conv] = output.detach()
        self._versions[conv] = output._version

    _keep.can_be_passed_over = True  # type: ignore[attr-defined]  # of a module with its own rule


@contextmanager
def tangent_rules(model: nn.Module, outputs: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let the layers that have a rule below, or their own, use it instead of PyTorch's.

    Args:
        outputs: as `Outputs` gives them.
    """
    own = own_rules(model)
    rules: dict[nn.Module, Callable[[Any], Any]] = {
        module: partial(_convolution, module, output)
        if isinstance(output, Tensor)
        else partial(own[module].move, output)
        for module, output in outputs.items()
    }
    for module in model.modules():
        if type(module) is nn.BatchNorm2d and module.training and module.affine:
            rules[module] = partial(_batch_norm, module)
    hidden = {module: vars(module).get("forward") for module in rules}
    for module, rule in rules.items():
        module.forward = rule  # hides the forward of its class
    try:
        yield
    finally:
        for module, before in hidden.items():
            if before is None:
                del module.forward
            else:
                module.forward = before


def dual(value: Tensor, tangent: Tensor) -> Tensor:
    """Return a dual tensor."""
    made: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return made


def parts(dual: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of a dual tensor and its tangent, zero for what does not move."""
    value, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return value, torch.zeros_like(value) if tangent is None else tangent


def own_rules(model: nn.Module) -> dict[nn.Module, OwnRule]:
    """Return the parts of a network that have their own rule."""
    forwards = {module: vars(module).get("forward") for module in model.modules()}
    return {module: own for module, own in forwards.items() if isinstance(own, OwnRule)}


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and conv.bias is None


def _convolution(conv: nn.Module, output: Tensor, x: Tensor) -> Tensor:
    """Return the dual of a bias-free convolution whose `output` at `x` is known."""
    assert isinstance(conv, nn.Conv2d)
    weight, slope = parts(conv.weight)
    if forward_ad.unpack_dual(x).tangent is None:  # type: ignore[no-untyped-call]  # the images
        return dual(output, _convolve(conv, x, slope))
    value, tangent = parts(x)
    return dual(output, _convolve(conv, value, slope) + _convolve(conv, tangent, weight))


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return the dual of batch norm with batch statistics: y = γ x̂ + β.

    The tangent is J ẋ + γ̇ x̂ + β̇. J is symmetric, so J ẋ is what the backward pass makes of ẋ.
    """
    value, tangent = parts(x)
    tangent = tangent.to(value.dtype)  # under autocast a sum of both kinds has float32 tangents
    scale, scale_slope = parts(norm.weight)
    shift, shift_slope = parts(norm.bias)
    y, mean, inverse = torch.native_batch_norm(value, scale, shift, None, None, True, 0.0, norm.eps)
    moved: Tensor = torch.ops.aten.native_batch_norm_backward(
        tangent, value, scale, None, None, mean, inverse, True, norm.eps, [True, False, False]
    )[0]
    per_pixel = scale_slope * inverse
    moved = torch.addcmul(moved, value, per_pixel[:, None, None])
    return dual(y, moved + (shift_slope - per_pixel * mean)[:, None, None])
