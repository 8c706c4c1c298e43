"""Class-balanced loss: ℓ = w_y · base(z, y), averaged over the batch and not over Σ w.

w_j = (1 − β) / (1 − β^n_j), rescaled to sum to K, with the counts n_j of given labels. The base is
cross entropy, or the sum of K binary cross entropies, or of K binary focal losses.

Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, Eq. 2
and section 4, as in the authors' repository richardaecn/class-balanced-loss (src/cifar_main.py).
"""

from functools import partial

from torch import Tensor

from curvetune.config import ClassBalancedConfig
from curvetune.methods.base import Method, Parts, class_counts, effective_number_weights
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod, SampleLoss
from curvetune.methods.shared.one_vs_rest import (
    one_vs_rest_loss,
    sgd_sparing_last_bias,
    start_at_prior,
)


def class_weighted_loss(
    logits: Tensor, y: Tensor, *, base: SampleLoss, class_weights: Tensor
) -> Tensor:
    """Return w_y · base(z, y) of each sample, (B,).

    Args:
        logits: (B, K).
        y: (B,) labels.
        class_weights: (K,).
    """
    return class_weights[y] * base(logits, y)


def build(config: ClassBalancedConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    counts = class_counts(parts.y, parts.num_classes)
    weights = effective_number_weights(counts, config.beta)
    model = parts.new_model(0)
    if config.base == "softmax":
        loss = partial(class_weighted_loss, base=cross_entropy, class_weights=weights)
        return LossMethod(model, parts.recipe, loss)
    base = partial(one_vs_rest_loss, gamma=config.focal_gamma if config.base == "focal" else 0.0)
    start_at_prior(model)
    return LossMethod(
        model,
        parts.recipe,
        partial(class_weighted_loss, base=base, class_weights=weights),
        optimizer=sgd_sparing_last_bias(model, parts.recipe),
    )
