"""Cross entropy on the given labels: the baseline, and the training of every probe.

Source: methods.md 6.1; Jiang et al., AAAI 2022, Eq. 1.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CrossEntropyConfig
from curvetune.methods.base import Method, Parts, Recipe, set_lr, sgd

SampleLoss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), labels (B,) -> losses (B,)


class LossMethod:
    """Minimises the mean of a loss per sample."""

    def __init__(self, model: nn.Module, recipe: Recipe, loss: SampleLoss) -> None:
        self.model = model
        self._recipe = recipe
        self._loss = loss
        self._optimizer = sgd(model, recipe)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean loss of the batch."""
        losses = self._loss(self.model(batch.x), batch.y)
        self._optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return {"loss": losses.detach()}

    def state_dict(self) -> dict[str, Any]:
        """Return the classifier and its optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return −log softmax(logits)_y of each sample, (B,), from logits (B, K) and labels (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def build(config: CrossEntropyConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return LossMethod(parts.new_model(), parts.recipe, cross_entropy)
