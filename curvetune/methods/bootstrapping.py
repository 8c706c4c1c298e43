"""Bootstrapping: the target mixes the given label t with what the classifier itself says, q.

Soft: ℓ = −Σ_k [β t_k + (1 − β) q_k] log q_k. Hard: the one-hot of the most probable class instead
of q. The soft form is differentiated through both q: it is β · CE + (1 − β) · entropy of q. With
`detach`, q is a fixed target; that is another method than the published one.

Source: Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR 2015
workshop, section 3.2.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from curvetune.config import BootstrappingConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.shared.objective import LossMethod


def opinion(logits: Tensor, kind: str) -> Tensor:
    """Return what the classifier says, (B, K): probabilities (`soft`) or a one-hot (`hard`)."""
    if kind == "soft":
        return logits.softmax(dim=1)
    return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)


def bootstrapping_loss(
    logits: Tensor, y: Tensor, *, kind: str, beta: float, detach: bool = False
) -> Tensor:
    """Return the loss of each sample, (B,), from logits (B, K) and labels (B,).

    Args:
        beta: share of the given label.
        detach: no gradient through the probabilities that are mixed in.
    """
    said = opinion(logits, kind)
    target = _mixed(said.detach() if detach else said, y, beta)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


def given_weight(logits: Tensor, y: Tensor, *, kind: str, beta: float) -> Tensor:
    """Return the target's value at the given label, (B,): 1 if the classifier is sure of it."""
    return _mixed(opinion(logits, kind), y, beta).gather(1, y[:, None]).squeeze(1)


def _mixed(said: Tensor, y: Tensor, beta: float) -> Tensor:
    return beta * F.one_hot(y, said.shape[1]) + (1 - beta) * said


def build(config: BootstrappingConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    kind, beta = config.bootstrap, config.given_share
    return LossMethod(
        parts.new_model(0),
        parts.recipe,
        partial(bootstrapping_loss, kind=kind, beta=beta, detach=config.detach),
        weight=partial(given_weight, kind=kind, beta=beta),
    )
