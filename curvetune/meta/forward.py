"""One forward pass that is kept: for its losses' graph, and for a cheap derivative later.

The derivative is PyTorch's forward mode with rules of our own (`curvetune.meta.passes`), which
makes a network of convolutions and batch norms fast (docs/measurements.md). Whether it is right
for a network is checked before it is used for the first time (`curvetune.meta.check`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.meta.check import trusted_mode
from curvetune.meta.passes import Function, Pass, first_pass, sample_logits, sample_losses

__all__ = ["STEP", "Forward", "forward", "sample_logits", "sample_losses"]

STEP = 1e-3  # length of the step of a finite difference, in all parameters together


class Forward(Pass):
    """A pass of `model` over a batch: its losses with their graph, and their derivatives.

    Each raises DerivativeError where it would be wrong for this network.
    """

    def inner_products(self, direction: Sequence[Tensor]) -> Tensor:
        """Return ⟨direction, ∇ℓ_i⟩ for each sample, (B,): one forward-mode pass.

        Args:
            direction: one tensor for each of `params`, of its shape.
        """
        return self._derivative(sample_losses, direction)

    def logit_tangents(self, direction: Sequence[Tensor]) -> Tensor:
        """Return how fast the logits move along `direction`, (B, K): one forward-mode pass.

        With it ⟨direction, ∇f_i⟩ = Σ_k (∂f_i/∂z_ik) ż_ik for any function f_i of the logits.
        """
        return self._derivative(_batch_logits, direction)

    def difference(self, direction: Sequence[Tensor]) -> Tensor:
        """Return about ⟨direction, ∇ℓ_i⟩ for each sample, (B,): one pass a small step along it.

        (ℓ_i(ω + ε d) − ℓ_i(ω)) / ε with ε = `STEP` / ‖d‖: half the work of `inner_products`, with
        an error of the order of the step (docs/measurements.md). Liu et al., "DARTS", ICLR 2019,
        section 2.3, has the two-sided form.
        """
        trusted_mode(self, needs_derivative=False)
        with torch.no_grad():
            step = STEP / nn.utils.get_total_norm(direction)
            moved = {
                name: param + step * d
                for (name, param), d in zip(self.params.items(), direction, strict=True)
            }
            return (self.value(sample_losses, moved) - self.losses) / step

    def _derivative(self, function: Function, direction: Sequence[Tensor]) -> Tensor:
        if trusted_mode(self) == "forward":
            return self.by_forward_mode(function, direction)[1]
        return self.by_double_backward(function, direction)


def forward(model: nn.Module, batch: Batch, *, update_statistics: bool = True) -> Forward:
    """Run `model` over `batch` and keep what the meta gradient can use again.

    Args:
        update_statistics: as an ordinary training pass does; False leaves all buffers alone.
    """
    return Forward(**vars(first_pass(model, batch, update_statistics=update_statistics)))


def _batch_logits(model: nn.Module, params: Mapping[str, Tensor], batch: Batch) -> Tensor:
    return sample_logits(model, params, batch.x)
