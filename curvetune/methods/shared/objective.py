"""Minimising the mean of a loss per sample: most methods are that, with a loss of their own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.methods.base import Recipe, State, descend, set_lr, sgd

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
    """Minimises the mean of a loss per sample, over all samples or a subset of them.

    Args:
        subset: the samples to train on; all if None.
        weight: how much each given label counts, (B,), from logits (B, K) and labels (B,); it is
            reported only. None reports nothing.
        optimizer: of the parameters of `model`; the recipe's if None.
        with_logits: whether a step reports the logits, (B, K), too.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        loss: SampleLoss,
        *,
        subset: Subset | None = None,
        weight: SampleLoss | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        with_logits: bool = False,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._loss = loss
        self._subset = subset
        self._weight = weight
        self._with_logits = with_logits
        self._optimizer = optimizer or sgd(model, recipe)
        parts = {"subset": subset.generator} if subset else {}
        self.state = State(model=model, optimizer=self._optimizer, **parts)

    def start_epoch(self, epoch: int) -> Tensor | None:
        """Set the learning rate; choose the samples."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        return self._subset() if self._subset else None

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean loss of the batch."""
        logits = self.model(batch.x)
        losses = self._loss(logits, batch.y)
        descend(losses.mean(), self._optimizer)
        metrics = {"loss": losses.detach()}
        if self._weight is not None:
            metrics["weight"] = self._weight(logits.detach(), batch.y)
        if self._with_logits:
            metrics["logits"] = logits.detach()
        return metrics
