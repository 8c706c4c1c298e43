"""K sigmoids instead of a softmax, each telling one class from the rest.

A sigmoid that starts at 1/2 would be wrong about most of the K - 1 other classes, and their sum
would drown the given one; so it starts at the prior 1/K, and nothing pulls that bias back to 0.

Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, section
4, as in the authors' repository richardaecn/class-balanced-loss (src/cifar_main.py); Lin et al.,
"Focal Loss for Dense Object Detection", ICCV 2017, Eq. 5 and section 3.3.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.methods.base import Recipe, sgd
from curvetune.models import last_layer


def one_vs_rest_loss(
    logits: Tensor, y: Tensor, *, gamma: float = 0.0, alpha: float | None = None
) -> Tensor:
    """Return Σ_k −α_k (1 − p_k)^γ log p_k of each sample, (B,).

    p_k is the probability of being right about class k: σ(z_k) of the given class, 1 − σ(z_k) of
    the others. γ = 0 is the sum of K binary cross entropies.

    Args:
        logits: (B, K).
        y: (B,) labels.
        alpha: α_k of the given class, and 1 − α of the others; None weighs both with 1.
    """
    given = F.one_hot(y, logits.shape[1]).bool()
    right = torch.where(given, logits, -logits)
    # In logarithms: (1 - p)^γ itself has no finite slope at p = 1 if γ < 1.
    terms = -F.logsigmoid(right) * torch.exp(gamma * F.logsigmoid(-right))
    if alpha is not None:
        terms = torch.where(given, alpha * terms, (1 - alpha) * terms)
    return terms.sum(dim=1)


def start_at_prior(model: nn.Module) -> None:
    """Set the bias of the last layer to −log(K − 1): every sigmoid starts at about 1/K."""
    layer = cast(nn.Linear, last_layer(model))
    nn.init.constant_(layer.bias, -math.log(layer.out_features - 1))


def sgd_sparing_last_bias(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return the recipe's optimizer, without weight decay on the bias of the last layer."""
    optimizer = sgd(model, recipe)
    bias = cast(nn.Linear, last_layer(model)).bias
    group = optimizer.param_groups[0]
    group["params"] = [param for param in group["params"] if param is not bias]
    optimizer.add_param_group({"params": [bias], "weight_decay": 0.0})
    return optimizer
