"""One pass of a network that is kept: for its losses' graph, and for derivatives later.

PyTorch's forward-mode differentiation computes every layer's output again beside its tangent. The
outputs of the convolutions, most of the work, are known from the first pass, so a `Pass` hands
them back and adds only the tangents; batch norm's Jacobian is symmetric, so its tangent is its
fused backward kernel. Every other operation is differentiated by PyTorch.

A second pass sees the random masks of the first. Attention is computed by PyTorch's own formula
in both: its fused kernels have no forward mode and no double backward.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from curvetune.batch import Batch
from curvetune.meta.double_backward import jacobian_product
from curvetune.meta.draws import Draw, Recording, Replaying, has_dropout
from curvetune.meta.known import Known
from curvetune.meta.rules import Outputs, dual, parts, tangent_rules

# of a network, its parameters and a batch; its first dimension is that of the batch
Function = Callable[[nn.Module, Mapping[str, Tensor], Batch], Tensor]

_draws_at_random: Known[bool] = Known()


@dataclass(frozen=True)
class Pass:
    """A pass of `model` over a batch: its losses with their graph, and what it left behind."""

    model: nn.Module
    params: Mapping[str, Tensor]
    batch: Batch
    logits: Tensor  # (B, K)
    losses: Tensor  # (B,) cross entropy of each sample
    outputs: Mapping[nn.Module, Any]  # of convolutions, detached; and of what has its own rule
    draws: Sequence[Draw]  # what the network drew at random
    buffers: Mapping[str, Tensor]  # before the pass, but for batch norms', which do not matter

    def value(self, function: Function, params: Mapping[str, Tensor]) -> Tensor:
        """Return `function` at other parameters, with the random masks of this pass."""
        with self._again():
            return self._of(function, params)

    def by_forward_mode(
        self, function: Function, direction: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return `function` and its derivative along `direction`, in one forward-mode pass.

        Args:
            direction: one tensor for each of `params`, of its shape.
        """
        rules = tangent_rules(self.model, self.outputs)
        with self._again(), torch.no_grad(), forward_ad.dual_level(), rules:
            duals = {
                name: dual(param.detach(), tangent)
                for (name, param), tangent in zip(self.params.items(), direction, strict=True)
            }
            return parts(self._of(function, duals))

    def by_double_backward(self, function: Function, direction: Sequence[Tensor]) -> Tensor:
        """Return the derivative of `function` along `direction`, by two backward passes."""
        with self._again():
            return jacobian_product(partial(self._of, function), self.params, direction)

    def _of(self, function: Function, params: Mapping[str, Tensor]) -> Tensor:
        is_double = _is_double(params)
        buffers = {name: _copied(buffer, is_double) for name, buffer in self.buffers.items()}
        return function(self.model, {**params, **buffers}, self.batch)

    @contextmanager
    def _again(self) -> Iterator[None]:
        replaying = Replaying(self.draws) if self.draws else nullcontext()
        with ordinary_mode(), sdpa_kernel(SDPBackend.MATH), replaying:
            yield


def first_pass(
    model: nn.Module,
    batch: Batch,
    *,
    params: Mapping[str, Tensor] | None = None,
    update_statistics: bool = False,
) -> Pass:
    """Run `model` over `batch` and keep what derivatives can use again.

    Args:
        params: the model's own if None; not with `update_statistics`.
        update_statistics: as an ordinary training pass does; False leaves all buffers alone.
    """
    is_random = _draws_at_random.get(model)
    outputs = Outputs(model)
    recording = nullcontext() if is_random is False else Recording()
    with ordinary_mode(), sdpa_kernel(SDPBackend.MATH), recording, outputs.watching():
        buffers = _state(model)
        named = dict(model.named_parameters()) if params is None else params
        logits = model(batch.x) if update_statistics else sample_logits(model, named, batch.x)
        losses = F.cross_entropy(logits, batch.y, reduction="none")
    draws = recording.draws if isinstance(recording, Recording) else []
    if is_random is None:
        _draws_at_random.set(model, bool(draws) or has_dropout(model))
    return Pass(model, named, batch, logits, losses, outputs.usable(), draws, buffers)


def sample_losses(model: nn.Module, params: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return the cross entropy of each sample, (B,), at `params`; all buffers are left alone."""
    logits = sample_logits(model, params, batch.x)
    return F.cross_entropy(logits, batch.y, reduction="none")


def sample_logits(model: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the logits of images, (B, K), at `params`; all buffers are left alone.

    Args:
        params: buffers may be among them.
    """
    is_double = _is_double(params)
    buffers = {name: _copied(buffer, is_double) for name, buffer in model.named_buffers()}
    values = _by_every_name(model, {**buffers, **params})
    logits: Tensor = functional_call(model, values, (x,), tie_weights=False)
    return logits


def _is_double(params: Mapping[str, Tensor]) -> bool:
    return next(iter(params.values())).dtype == torch.float64


def _copied(buffer: Tensor, is_double: bool) -> Tensor:
    """Return a copy of a buffer, in float64 beside parameters that are."""
    if is_double and buffer.is_floating_point():
        return buffer.to(torch.float64, copy=True)
    return buffer.clone()


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers that a pass in training mode may read, as spectral norm's."""
    return {
        f"{prefix}.{attribute}" if prefix else attribute: buffer.clone()
        for prefix, module in model.named_modules()
        if not (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training)
        for attribute, buffer in module._buffers.items()
        if buffer is not None
    }


def _by_every_name(model: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of parameters and buffers, also under the names that are tied to theirs.

    As `functional_call` does itself; but in PyTorch 2.15 it gives the names of a module that is
    in the model twice as well, and leaves that module with the values.
    """
    first: dict[int, str] = {}
    found = dict(values)
    for prefix, module in model.named_modules():  # each once
        for attribute, tensor in [*module._parameters.items(), *module._buffers.items()]:
            name = f"{prefix}.{attribute}" if prefix else attribute
            original = first.setdefault(id(tensor), name)
            if tensor is not None and original in values:
                found[name] = values[original]
    return found


@contextmanager
def ordinary_mode() -> Iterator[None]:
    """Leave `torch.inference_mode`, in which a derivative is zero and nothing says so."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False):
        yield
