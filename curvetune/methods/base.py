"""What a method owes the loop, and what a builder is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.shared.optimizers import new_sgd


class State:
    """All of a method that training changes, by name, so that a resumed run ends bit for bit.

    A part is a module, an optimizer, a generator, a tensor (read back in place) or another State.
    """

    def __init__(
        self, **parts: "nn.Module | torch.optim.Optimizer | torch.Generator | Tensor | State"
    ) -> None:
        self._parts = parts

    def generators(self) -> list[torch.Generator]:
        """Return the generators among the parts, those of the States in it too."""
        found = []
        for part in self._parts.values():
            if isinstance(part, State):
                found += part.generators()
            elif isinstance(part, torch.Generator):
                found.append(part)
        return found

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers among the parts, those of the States in it too."""
        found: list[torch.optim.Optimizer] = []
        for part in self._parts.values():
            if isinstance(part, State):
                found += part.optimizers()
            elif isinstance(part, torch.optim.Optimizer):
                found.append(part)
        return found

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the parts themselves, those of the optimizers' states too."""
        found: list[Tensor] = []
        for part in self._parts.values():
            if isinstance(part, State):
                found += part.tensors()
            elif isinstance(part, nn.Module):
                found += [*part.parameters(), *part.buffers()]
            elif isinstance(part, torch.optim.Optimizer):
                states = (value for state in part.state.values() for value in state.values())
                found += [value for value in states if isinstance(value, Tensor)]
            elif isinstance(part, Tensor):
                found.append(part)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values; tensors are shared, not copied."""
        return {name: _read(part) for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for name, part in self._parts.items():
            if isinstance(part, Tensor):
                part.copy_(state[name])
            elif isinstance(part, torch.Generator):
                part.set_state(state[name].cpu())
            else:
                part.load_state_dict(state[name])


def _read(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


class Method(Protocol):
    """A way to turn batches into updates of `model`.

    The loop owns data, devices, evaluation and checkpoints. A method owns its optimizers and any
    extra network; state per sample is one tensor indexed by `batch.index`.
    """

    model: nn.Module  # what is evaluated
    state: State
    phase: object  # steps do the same operations as long as this is the same

    def start_epoch(self, epoch: int) -> Tensor | None:
        """Set what changes with the epoch, the learning rate first of all.

        Returns:
            The indices of the samples that the epoch visits, in order; None for every sample
            once, in random order.
        """
        ...

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step and return metrics: per sample, (B,), or 0-d; `loss` is always there.

        Never an `.item()` in here: it would stall the GPU.
        """
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
    """What a builder may use; everything is on the training device.

    Args:
        new_model: the k-th freshly initialised classifier; 0 is the one that all methods share.
        first_drop: first epoch after the learning rate dropped.
        y: (N,) given labels.
        train: the biased set; `ordered` gives its images as they are, `view` augmented again.
        generator: on the CPU, for initial values of extra networks.
        draws: on the device, for what is random in a step; keep it in the method's `State`.
        meta: the set that meta batches come from, if the method takes them.
        noise_rate: known, given or estimated share of wrong labels; 0 if nobody asked for it.
        curves: (N, T) losses of the probe, whole; NaN for samples that it never saw.
        margins: (N, T) float32, logit of the given label less the largest other, for a method that
            reads them.
        pretrained: a copy of the probe's classifier.
        verified: (N,) 1 where somebody saw that the given label is right, 0 where it is wrong, and
            -1 elsewhere; None where the data comes without.
    """

    new_model: Callable[[int], nn.Module]
    recipe: Recipe
    first_drop: int
    y: Tensor
    num_classes: int
    train: ImageSet
    generator: torch.Generator
    draws: torch.Generator
    meta: ImageSet | None = None
    noise_rate: float = 0.0
    curves: Tensor | None = None
    margins: Tensor | None = None
    pretrained: Callable[[], nn.Module] | None = None
    verified: Tensor | None = None


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return the recipe's optimizer, with the learning rate of its first epoch.

    On a GPU the learning rate is a tensor, so that a captured step follows its changes, and the
    update is one fused kernel.
    """
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    lr = recipe.lr_at(0)
    return new_sgd(
        model.parameters(),
        lr=torch.tensor(lr, device=device) if on_gpu else lr,
        **({"fused": True} if on_gpu else {}),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate; in place where it is a tensor, which a captured step reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Take one step of each optimizer down the gradient of a 0-d loss."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()


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
