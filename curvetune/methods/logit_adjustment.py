"""Logit adjustment: a class's logit is shifted by τ log π, π being its share of the given labels.

By its loss, ℓ = CE(z + τ log π, y), and z is tested. Post hoc, cross entropy's z is trained, and
z − τ log π is tested: the same classifier but for its last bias, so what is stored is an ordinary
one.

Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, Eq. 9 and 10, as in the
authors' repository google-research/google-research (logit_adjustment/main.py, utils.py).
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

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
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.prior import log_shares, shifted_cross_entropy
from curvetune.models import last_layer


class PostHoc:
    """Cross entropy's training; the last bias of the tested classifier is less by `shift`, (K,).

    All other parameters are those that are trained, which end bit for bit as cross entropy's.
    """

    phase: object = None  # every step does the same operations

    def __init__(self, model: nn.Module, recipe: Recipe, shift: Tensor) -> None:
        self.model = model
        self._recipe = recipe
        self._shift = shift
        self._tested = cast(nn.Linear, last_layer(model)).bias
        self._trained = nn.Parameter(self._tested.detach().clone())
        (self._name,) = (n for n, p in model.named_parameters() if p is self._tested)
        self._optimizer = sgd(model, recipe)
        group = self._optimizer.param_groups[0]
        group["params"] = [self._trained if p is self._tested else p for p in group["params"]]
        self.state = State(model=model, bias=self._trained.detach(), optimizer=self._optimizer)
        self._shift_bias()

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take cross entropy's step, and shift the bias that it gave."""
        logits = functional_call(self.model, {self._name: self._trained}, batch.x)
        losses = cross_entropy(logits, batch.y)
        descend(losses.mean(), self._optimizer)
        self._shift_bias()
        return {"loss": losses.detach()}

    def _shift_bias(self) -> None:
        with torch.no_grad():
            self._tested.copy_(self._trained - self._shift)


def build(config: LogitAdjustmentConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    shift = config.tau * log_shares(class_counts(parts.y, parts.num_classes))
    if config.mode == "post-hoc":
        return PostHoc(parts.new_model(0), parts.recipe, shift)
    loss = partial(shifted_cross_entropy, shift=shift)
    return LossMethod(parts.new_model(0), parts.recipe, loss)
