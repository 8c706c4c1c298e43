"""LDAM-DRW: cosine logits with a margin that is wider for rare classes; class weights come late.

ℓ = CE(s · (z − m_y 1_y), y) with m_j = 0.5 n_j^(−1/4) / max_k n_k^(−1/4). From the first drop of
the learning rate on, the mean over a batch is weighted with effective-number weights and divided by
their sum. The counts n_j are of given labels. What is tested are the cosines: no s, no margin.

Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
NeurIPS 2019, section 3 and Algorithm 1, as in the authors' repository kaidic/LDAM-DRW (losses.py,
cifar_train.py).
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import LDAMDRWConfig
from curvetune.methods.base import (
    Method,
    Parts,
    Recipe,
    State,
    class_counts,
    descend,
    effective_number_weights,
    set_lr,
    sgd,
)
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.models import last_layer, replace_last_layer


class CosineLayer(nn.Module):
    """Cosines between features and one direction for each class; no bias."""

    def __init__(self, width: int, num_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.empty(width, num_classes).uniform_(-1, 1, generator=generator)
        self.weight = nn.Parameter(F.normalize(weight, dim=0))

    def forward(self, seen: Tensor) -> Tensor:
        """Return cosines, (B, K), of features, (B, D)."""
        return F.normalize(seen, dim=1) @ F.normalize(self.weight, dim=0)


def margins(counts: Tensor, largest: float) -> Tensor:
    """Return the margin of each class, (K,), from class counts (K,); the rarest has `largest`.

    A class without samples gets 0: it has no loss, and would take the maximum from the others.
    """
    raw = torch.where(counts > 0, counts.clamp(min=1) ** -0.25, 0.0)
    return largest * raw / raw.max()


def ldam_loss(cosines: Tensor, y: Tensor, *, class_margins: Tensor, scale: float) -> Tensor:
    """Return the loss of each sample, (B,).

    Args:
        cosines: (B, K).
        y: (B,) labels.
        class_margins: (K,).
        scale: s.
    """
    shift = F.one_hot(y, len(class_margins)) * class_margins
    return cross_entropy(scale * (cosines - shift), y)


class LDAMDRW:
    """The method: see the module.

    Args:
        class_margins: (K,).
        scale: s.
        class_weights: (K,), of the mean loss from epoch `reweigh_from` on; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        class_margins: Tensor,
        scale: float,
        class_weights: Tensor | None,
        reweigh_from: int,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._margins = class_margins
        self._scale = scale
        self._class_weights = class_weights
        self._reweigh_from = reweigh_from
        self._epoch = 0
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, and which epoch it is."""
        self._epoch = epoch
        self.phase = epoch >= self._reweigh_from
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean loss, weighted by class once that has begun."""
        cosines = self.model(batch.x)
        losses = ldam_loss(cosines, batch.y, class_margins=self._margins, scale=self._scale)
        descend(self._mean(losses, batch.y), self._optimizer)
        return {"loss": losses.detach()}

    def _mean(self, losses: Tensor, y: Tensor) -> Tensor:
        if self._class_weights is None or self._epoch < self._reweigh_from:
            return losses.mean()
        weights = self._class_weights[y]
        return (weights * losses).sum() / weights.sum()  # F.cross_entropy(weight), as released


def build(config: LDAMDRWConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    counts = class_counts(parts.y, parts.num_classes)
    model = parts.new_model(0)
    width = cast(nn.Linear, last_layer(model)).in_features
    layer = CosineLayer(width, parts.num_classes, parts.generator)
    replace_last_layer(model, layer.to(parts.y.device))
    return LDAMDRW(
        model,
        parts.recipe,
        class_margins=margins(counts, config.max_margin),
        scale=config.logit_scale,
        class_weights=effective_number_weights(counts, config.drw_beta) if config.drw else None,
        reweigh_from=parts.first_drop,
    )
