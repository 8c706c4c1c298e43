"""Symmetric cross entropy: ℓ = α CE + β RCE, RCE = −Σ_k q_k log t_k with A for log 0.

The target t is a one-hot, so RCE = −A (1 − q_y): bounded, and so robust, where CE still learns hard
classes. The slope is cross entropy's times α − β A q_y, which is reported as the weight.

Source: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019,
section 3. The authors' repository YisenWang/symmetric_cross_entropy_for_noisy_labels (loss.py)
clips the one-hot at 1e-4: there, A is the natural logarithm of that, −9.21, and not −4.
"""

from functools import partial

import torch
from torch import Tensor

from curvetune.config import SCEConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod


def sce_loss(logits: Tensor, y: Tensor, *, alpha: float, beta: float, log_zero: float) -> Tensor:
    """Return the loss of each sample, (B,), from logits (B, K) and labels (B,).

    Args:
        alpha: factor of cross entropy.
        beta: factor of the reverse one.
        log_zero: A, below 0.
    """
    forward = cross_entropy(logits, y)
    return alpha * forward + beta * log_zero * torch.expm1(-forward)  # expm1: q_y − 1


def sce_factor(logits: Tensor, y: Tensor, *, alpha: float, beta: float, log_zero: float) -> Tensor:
    """Return what cross entropy's slope is times, (B,): α − β A q_y."""
    return alpha - beta * log_zero * torch.exp(-cross_entropy(logits, y))


def build(config: SCEConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    alpha, beta, log_zero = config.forward_share, config.reverse_share, config.log_zero
    return LossMethod(
        parts.new_model(0),
        parts.recipe,
        partial(sce_loss, alpha=alpha, beta=beta, log_zero=log_zero),
        weight=partial(sce_factor, alpha=alpha, beta=beta, log_zero=log_zero),
    )
