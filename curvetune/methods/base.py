"""What a method owes the loop, and what a builder is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from curvetune.batch import Batch


class Method(Protocol):
    """A way to turn batches into updates of `model`.

    The loop owns data, devices, evaluation and checkpoints. A method owns its optimizers and any
    extra network; state per sample is one tensor indexed by `batch.index`.
    """

    model: nn.Module  # what is evaluated

    def start_epoch(self, epoch: int) -> None:
        """Set what changes with the epoch, the learning rate first of all."""
        ...

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step and return metrics: per sample, (B,), or 0-d; `loss` is always there.

        Never an `.item()` in here: it would stall the GPU.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs to end bit for bit where it would have."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        ...


class Recipe(Protocol):
    """How a classifier is trained: a section of the config, or a test's own."""

    @property
    def epochs(self) -> int: ...
    @property
    def momentum(self) -> float: ...
    @property
    def nesterov(self) -> bool: ...
    @property
    def weight_decay(self) -> float: ...

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`."""
        ...

    def batch_size_at(self, epoch: int) -> int:
        """Return the batch size of `epoch`."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a builder may use; everything is on the training device."""

    new_model: Callable[[], nn.Module]  # a freshly initialised classifier
    recipe: Recipe
    first_drop: int  # first epoch after the learning rate dropped
    y: Tensor  # (N,) given labels
    num_classes: int
    generator: torch.Generator  # on the CPU, for initial values of extra networks
    curves: Tensor | None = None  # (N, T) losses of the probe, whole


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return the recipe's optimizer, with the learning rate of its first epoch."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr_at(0),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def class_counts(y: Tensor, num_classes: int) -> Tensor:
    """Return how many samples carry each given label, (K,) float32."""
    return torch.bincount(y, minlength=num_classes).float()


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Return class weights, (K,), that sum to K: (1 − β) / (1 − β^n), rescaled.

    A class without samples gets the weight of a class with one. Source: Cui et al., "Class-Balanced
    Loss Based on Effective Number of Samples", CVPR 2019, Eq. 2 and section 4.
    """
    weights = (1 - beta) / (1 - beta ** counts.double().clamp(min=1))
    return (weights * len(counts) / weights.sum()).float()
