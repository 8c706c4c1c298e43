"""Logit adjustment: a class's logit is shifted by τ log π, π being its share of the given labels.

By its loss, ℓ = CE(z + τ log π, y), and z is tested. Post hoc, cross entropy's z is trained, and
z − τ log π is tested. The shift is the last bias's, so the classifier that is tested and stored is
an ordinary one: its bias starts at −τ log π, its logits + τ log π are trained.

Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, Eq. 9 and 10, as in the
authors' repository google-research/google-research (logit_adjustment/main.py, utils.py).
"""

import math
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import LogitAdjustmentConfig
from curvetune.methods.base import (
    Method,
    Parts,
    Recipe,
    State,
    class_counts,
    descend,
    set_lr,
    sgd,
)
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.prior import log_counts, shifted_cross_entropy
from curvetune.models import last_layer


class PostHoc:
    """Cross entropy's training of a classifier whose last bias is less by `shift`, (K,)."""

    phase: object = None  # every step does the same operations

    def __init__(self, model: nn.Module, recipe: Recipe, shift: Tensor) -> None:
        self.model = model
        self._recipe = recipe
        self._shift = shift
        self._bias = cast(nn.Linear, last_layer(model)).bias
        with torch.no_grad():
            self._bias.sub_(shift)
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take cross entropy's step."""
        losses = shifted_cross_entropy(self.model(batch.x), batch.y, shift=self._shift)
        # SGD decays the bias that is stored; cross entropy's is more by the shift, and so is this.
        rest_of_decay = self._recipe.weight_decay * (self._bias @ self._shift)
        descend(losses.mean() + rest_of_decay, self._optimizer)
        return {"loss": losses.detach()}


def build(config: LogitAdjustmentConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    counts = class_counts(parts.y, parts.num_classes)
    shift = config.tau * (log_counts(counts) - math.log(len(parts.y)))
    if config.mode == "post-hoc":
        return PostHoc(parts.new_model(0), parts.recipe, shift)
    loss = partial(shifted_cross_entropy, shift=shift)
    return LossMethod(parts.new_model(0), parts.recipe, loss)
