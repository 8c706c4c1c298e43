"""One forward pass that is kept: for its losses' graph, and for a cheap forward-mode pass later.

PyTorch's forward-mode differentiation computes every layer's output again beside its tangent. The
outputs of the convolutions, most of the work, are known from the first pass, so `Forward` hands
them back and adds only the tangents; batch norm's Jacobian is symmetric, so its tangent is its
fused backward kernel. Every other operation is differentiated by PyTorch: any model works, and
one made of convolutions and batch norms is fast (docs/measurements.md).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from curvetune.batch import Batch

STEP = 1e-3  # length of the step of a finite difference, in all parameters together


@dataclass(frozen=True)
class Forward:
    """A pass of `model` over a batch: its losses with their graph, and what it left behind."""

    model: nn.Module
    params: Mapping[str, Tensor]
    batch: Batch
    logits: Tensor  # (B, K)
    losses: Tensor  # (B,) cross entropy of each sample
    outputs: dict[nn.Conv2d, Tensor]  # of each convolution, detached

    def inner_products(self, direction: Sequence[Tensor]) -> Tensor:
        """Return ⟨direction, ∇ℓ_i⟩ for each sample, (B,): one forward-mode pass.

        Args:
            direction: one tensor for each of `params`, of its shape.
        """
        with torch.no_grad(), forward_ad.dual_level(), self._tangent_rules():
            return _parts(sample_losses(self.model, self._duals(direction), self.batch))[1]

    def difference(self, direction: Sequence[Tensor]) -> Tensor:
        """Return about ⟨direction, ∇ℓ_i⟩ for each sample, (B,): one pass a small step along it.

        (ℓ_i(ω + ε d) − ℓ_i(ω)) / ε with ε = `STEP` / ‖d‖: half the work of `inner_products`, with
        an error of the order of the step (docs/measurements.md). Liu et al., "DARTS", ICLR 2019,
        section 2.3, has the two-sided form.
        """
        with torch.no_grad():
            step = STEP / nn.utils.get_total_norm(direction)
            moved = {
                name: param + step * d
                for (name, param), d in zip(self.params.items(), direction, strict=True)
            }
            return (sample_losses(self.model, moved, self.batch) - self.losses) / step

    def logit_tangents(self, direction: Sequence[Tensor]) -> Tensor:
        """Return how fast the logits move along `direction`, (B, K): one forward-mode pass.

        With it ⟨direction, ∇f_i⟩ = Σ_k (∂f_i/∂z_ik) ż_ik for any function f_i of the logits.
        """
        with torch.no_grad(), forward_ad.dual_level(), self._tangent_rules():
            return _parts(sample_logits(self.model, self._duals(direction), self.batch.x))[1]

    def _duals(self, direction: Sequence[Tensor]) -> dict[str, Tensor]:
        return {
            name: _dual(param.detach(), tangent)
            for (name, param), tangent in zip(self.params.items(), direction, strict=True)
        }

    @contextmanager
    def _tangent_rules(self) -> Iterator[None]:
        """Let the layers that have a rule below use it instead of PyTorch's."""
        rules: dict[nn.Module, Callable[[Tensor], Tensor]] = {
            conv: partial(_convolution, conv, output) for conv, output in self.outputs.items()
        }
        for module in self.model.modules():
            if type(module) is nn.BatchNorm2d and module.training and module.affine:
                rules[module] = partial(_batch_norm, module)
        for module, rule in rules.items():
            module.forward = rule  # hides the forward of its class
        try:
            yield
        finally:
            for module in rules:
                del module.forward


def forward(model: nn.Module, batch: Batch, *, update_statistics: bool = True) -> Forward:
    """Run `model` over `batch` and keep what the meta gradient can use again.

    Args:
        update_statistics: as an ordinary training pass does; False leaves all buffers alone.
    """
    outputs: dict[nn.Conv2d, Tensor] = {}

    def keep(conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        outputs[conv] = output.detach()

    convolutions = [m for m in model.modules() if type(m) is nn.Conv2d and _is_plain(m)]
    handles = [module.register_forward_hook(keep) for module in convolutions]
    try:
        params = dict(model.named_parameters())
        logits = model(batch.x) if update_statistics else sample_logits(model, params, batch.x)
        losses = F.cross_entropy(logits, batch.y, reduction="none")
    finally:
        for handle in handles:
            handle.remove()
    return Forward(model, params, batch, logits, losses, outputs)


def sample_losses(model: nn.Module, params: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return the cross entropy of each sample, (B,), at `params`; all buffers are left alone."""
    logits = sample_logits(model, params, batch.x)
    return F.cross_entropy(logits, batch.y, reduction="none")


def sample_logits(model: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the logits of images, (B, K), at `params`; all buffers are left alone."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    logits: Tensor = functional_call(model, {**params, **buffers}, (x,))
    return logits


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and conv.bias is None


def _dual(value: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return dual


def _parts(dual: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of a dual tensor and its tangent, zero for what does not move."""
    value, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return value, torch.zeros_like(value) if tangent is None else tangent


def _convolution(conv: nn.Conv2d, output: Tensor, x: Tensor) -> Tensor:
    """Return the dual of a bias-free convolution whose `output` at `x` is known."""
    weight, slope = _parts(conv.weight)
    if forward_ad.unpack_dual(x).tangent is None:  # type: ignore[no-untyped-call]  # the images
        return _dual(output, _convolve(conv, x, slope))
    value, tangent = _parts(x)
    return _dual(output, _convolve(conv, value, slope) + _convolve(conv, tangent, weight))


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return the dual of batch norm with batch statistics: y = γ x̂ + β.

    The tangent is J ẋ + γ̇ x̂ + β̇. J is symmetric, so J ẋ is what the backward pass makes of ẋ.
    """
    value, tangent = _parts(x)
    scale, scale_slope = _parts(norm.weight)
    shift, shift_slope = _parts(norm.bias)
    y, mean, inverse = torch.native_batch_norm(value, scale, shift, None, None, True, 0.0, norm.eps)
    moved: Tensor = torch.ops.aten.native_batch_norm_backward(
        tangent, value, scale, None, None, mean, inverse, True, norm.eps, [True, False, False]
    )[0]
    per_pixel = scale_slope * inverse
    moved = torch.addcmul(moved, value, per_pixel[:, None, None])
    return _dual(y, moved + (shift_slope - per_pixel * mean)[:, None, None])
