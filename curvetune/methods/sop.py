"""SOP: every sample has variables of its own, which take up what is wrong with its label.

A sample has u, one number, and v, one for each class: s = u² y − v² (1 − y) with the label y
one-hot and both squares at most 1. The classifier and u minimise the cross entropy of y with
softmax + s, which is made a distribution again; u and v minimise the squared distance of y from
what the classifier says, one-hot, + s. They start at about 1e-8, and grow where both disagree.

Source: Liu et al., "Robust Training under Label Noise by Over-parameterization", ICML 2022, as in
the authors' repository shengliu66/SOP (model/loss.py, train.py, config_cifar100.json).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import SOPConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd

LEAST = 1e-4  # of a probability, in the repository


class Losses(NamedTuple):
    """The two parts of what is minimised, for each sample."""

    entropy: Tensor  # (B,), of the label with softmax + s
    distance: Tensor  # (B,), of the label from the prediction + s, squared


def sop_losses(logits: Tensor, given: Tensor, u: Tensor, v: Tensor) -> Losses:
    """Return both losses of each sample.

    v has no gradient from the first, the logits have none from the second.

    Args:
        logits: (B, K).
        given: (B, K), one-hot labels.
        u: (B, 1).
        v: (B, K).
    """
    plus = (u**2 * given).clamp(0, 1)
    minus = (v**2 * (1 - given)).clamp(0, 1)
    explained = (logits.softmax(dim=1) + plus - minus.detach()).clamp(min=LEAST)
    explained = F.normalize(explained, p=1, dim=1).clamp(min=LEAST, max=1)
    said = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)
    return Losses(
        -(given * explained.log()).sum(dim=1),
        (said + plus - minus - given).square().sum(dim=1),
    )


class SOP:
    """The method: see the module.

    Args:
        u: (N, 1), of the given label.
        v: (N, K), of the others.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self, model: nn.Module, recipe: Recipe, config: SOPConfig, u: Tensor, v: Tensor
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._rates = (config.given_lr, config.other_lr)
        self._variables = (u, v)
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, u=u, v=v)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of the classifier; those of the variables stay, as released."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step of the classifier and of the batch's variables; weight: 1 − u²."""
        logits = self.model(batch.x)
        given = F.one_hot(batch.y, logits.shape[1]).to(logits.dtype)
        rows = [values[batch.index].requires_grad_() for values in self._variables]
        losses = sop_losses(logits, given, *rows)
        loss = losses.entropy + losses.distance
        descend(loss.mean(), self._optimizer)
        for values, row, rate in zip(self._variables, rows, self._rates, strict=True):
            assert row.grad is not None
            values[batch.index] = row.detach() - rate * row.grad
        left = 1 - rows[0].detach().square().clamp(max=1).squeeze(1)
        return {"loss": loss.detach(), "weight": left}


def build(config: SOPConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""

    def first(width: int) -> Tensor:
        drawn = torch.randn(len(parts.y), width, generator=parts.generator)
        return (config.variable_std * drawn).to(parts.y.device)

    return SOP(parts.new_model(0), parts.recipe, config, first(1), first(parts.num_classes))
