"""Cross entropy on the given labels: the baseline, and the training of every probe.

Source: methods.md 6.1; Jiang et al., AAAI 2022, Eq. 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CrossEntropyConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd

SampleLoss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), labels (B,) -> losses (B,)


class Subset:
    """Some of the samples, in another random order at each call."""

    def __init__(self, index: Tensor, generator: torch.Generator) -> None:
        """Take indices, (n,), and a generator on their device."""
        self._index = index
        self.generator = generator

    def __call__(self) -> Tensor:
        """Return the indices shuffled, (n,)."""
        device = self._index.device
        order = torch.randperm(len(self._index), generator=self.generator, device=device)
        return self._index[order]


class LossMethod:
    """Minimises the mean of a loss per sample, over all samples or a subset of them."""

    phase: object = None

    def __init__(
        self, model: nn.Module, recipe: Recipe, loss: SampleLoss, subset: Subset | None = None
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._loss = loss
        self._subset = subset
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer)
        if subset is not None:
            self.state = State(loss=self.state, subset=subset.generator)

    def start_epoch(self, epoch: int) -> Tensor | None:
        """Set the learning rate; choose the samples."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        return self._subset() if self._subset else None

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean loss of the batch."""
        losses = self._loss(self.model(batch.x), batch.y)
        descend(losses.mean(), self._optimizer)
        return {"loss": losses.detach()}


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return −log softmax(logits)_y of each sample, (B,), from logits (B, K) and labels (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def build(config: CrossEntropyConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return LossMethod(parts.new_model(0), parts.recipe, cross_entropy)
