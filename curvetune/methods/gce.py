"""Generalized cross entropy: ℓ = (1 − q_y^q) / q, cross entropy for q → 0, 1 − q_y for q = 1.

Its slope is cross entropy's times q_y^q, so a sample counts less the less its label is believed;
this factor is reported as the weight. Truncated, the loss of a sample with q_y ≤ k is the constant
(1 − k^q) / q: such samples are pruned. Which they are is looked up every few epochs.

Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with
Noisy Labels", NeurIPS 2018, sections 3.2 and 3.3 and Algorithm 1; when samples are pruned, as
in the unofficial repository AlanChou/Truncated-Loss (main.py).
"""

from functools import partial

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import GCEConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.transition import predict


def gce_loss(logits: Tensor, y: Tensor, *, power: float) -> Tensor:
    """Return the loss of each sample, (B,), from logits (B, K) and labels (B,).

    By expm1 of log q_y: near 1, q_y^q itself would lose its digits.
    """
    return -torch.expm1(-power * cross_entropy(logits, y)) / power


def gce_factor(logits: Tensor, y: Tensor, *, power: float) -> Tensor:
    """Return q_y^q of each sample, (B,): what cross entropy's slope is times."""
    return torch.exp(-power * cross_entropy(logits, y))


def truncated_loss(losses: Tensor, kept: Tensor, *, power: float, keep_above: float) -> Tensor:
    """Return the losses, (B,), of kept samples, and the constant of pruned ones.

    Args:
        kept: (B,), 1 or 0.
    """
    constant = (1 - keep_above**power) / power
    return torch.where(kept > 0, losses, constant)


class TruncatedGCE:
    """The truncated method: see the module.

    Args:
        y: (N,) given labels.
        start: epoch of the first pruning.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        config: GCEConfig,
        train: ImageSet,
        y: Tensor,
        start: int,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._config = config
        self._train = train
        self._y = y
        self._start = start
        self._kept = torch.ones(len(y), device=y.device)
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, kept=self._kept)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate; prune, and take back what is believed by now."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        since = epoch - self._start
        if since >= 0 and since % self._config.prune_every == 0:
            given = predict(self.model, self._train).gather(1, self._y[:, None]).squeeze(1)
            self._kept.copy_(given > self._config.keep_above)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean over the batch, pruned samples included."""
        power, kept = self._config.loss_power, self._kept[batch.index]
        logits = self.model(batch.x)
        losses = truncated_loss(
            gce_loss(logits, batch.y, power=power),
            kept,
            power=power,
            keep_above=self._config.keep_above,
        )
        descend(losses.mean(), self._optimizer)
        weight = kept * gce_factor(logits.detach(), batch.y, power=power)
        return {"loss": losses.detach(), "weight": weight}


def build(config: GCEConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    model, power = parts.new_model(0), config.loss_power
    if config.truncated:
        start = round(config.prune_start * parts.first_drop)
        return TruncatedGCE(model, parts.recipe, config, parts.train, parts.y, start)
    loss, factor = partial(gce_loss, power=power), partial(gce_factor, power=power)
    return LossMethod(model, parts.recipe, loss, weight=factor)
