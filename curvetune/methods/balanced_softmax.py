"""Balanced softmax: ℓ = −log n_y e^{z_y} / Σ_k n_k e^{z_k}; the plain softmax of z is tested.

The counts n_k are of given labels. Divided by N they are shares, and the loss is the same: it is
logit adjustment by its loss with τ = 1, bit for bit.

Source: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020,
Theorem 1. The meta sampler of that paper is not here.
"""

from functools import partial

from curvetune.config import BalancedSoftmaxConfig
from curvetune.methods.base import Method, Parts, class_counts
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.prior import log_shares, shifted_cross_entropy


def build(config: BalancedSoftmaxConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    shift = log_shares(class_counts(parts.y, parts.num_classes))
    loss = partial(shifted_cross_entropy, shift=shift)
    return LossMethod(parts.new_model(0), parts.recipe, loss)
