"""Focal loss: ℓ = (1 − q_y)^γ · (−log q_y), less for samples that the classifier gets right.

The softmax form is what papers on long tails compare with; the sigmoid form, a sum over K binary
problems, is the one that was published for detection. Under label noise, the factor favours wrong
labels, which are the hard ones: the weight that is reported shows how much.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, Eq. 4 and 5; the softmax
form as in the repository kaidic/LDAM-DRW (losses.py).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from curvetune.config import FocalConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.one_vs_rest import (
    one_vs_rest_loss,
    sgd_sparing_last_bias,
    start_at_prior,
)


def focal_factor(logits: Tensor, y: Tensor, *, gamma: float) -> Tensor:
    """Return (1 − q_y)^γ of each sample, (B,), from logits (B, K) and labels (B,).

    From log Σ_{k≠y} q_k: 1 − q_y would round to 0, where the power has no finite slope if γ < 1.
    """
    others = F.log_softmax(logits, dim=1).scatter(1, y[:, None], -torch.inf)
    return torch.exp(gamma * others.logsumexp(dim=1))


def focal_loss(logits: Tensor, y: Tensor, *, gamma: float) -> Tensor:
    """Return the softmax form's loss of each sample, (B,), from logits (B, K) and labels (B,)."""
    return focal_factor(logits, y, gamma=gamma) * cross_entropy(logits, y)


def sigmoid_factor(logits: Tensor, y: Tensor, *, gamma: float) -> Tensor:
    """Return (1 − σ(z_y))^γ of each sample, (B,): the given class's factor in the sigmoid form."""
    given = logits.gather(1, y[:, None]).squeeze(1)
    return torch.exp(gamma * F.logsigmoid(-given))


def build(config: FocalConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    model, gamma = parts.new_model(0), config.focal_gamma
    if config.focal_form == "softmax":
        loss, factor = partial(focal_loss, gamma=gamma), partial(focal_factor, gamma=gamma)
        return LossMethod(model, parts.recipe, loss, weight=factor)
    start_at_prior(model)
    return LossMethod(
        model,
        parts.recipe,
        partial(one_vs_rest_loss, gamma=gamma, alpha=config.focal_alpha),
        weight=partial(sigmoid_factor, gamma=gamma),
        optimizer=sgd_sparing_last_bias(model, parts.recipe),
    )
