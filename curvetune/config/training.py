"""How classifiers are trained: the probe's schedule and that of the final training.

Epochs are counted from 0, so the first epoch after a milestone of 80 is epoch 80.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.base import Section


class TrainingConfig(Section):
    """SGD with momentum: what the probe and every final training have in common."""

    epochs: Annotated[int, Field(ge=1, description="Passes over the training set.")] = 200
    batch_size: Annotated[int, Field(ge=1, description="Samples of a step.")] = 128
    lr: Annotated[float, Field(gt=0, description="Learning rate before any drop.")] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="Of SGD.")] = 0.9
    nesterov: Annotated[bool, Field(description="Nesterov's momentum instead of plain.")] = True
    weight_decay: Annotated[float, Field(ge=0, description="Of all weights, by SGD.")] = 5e-4

    @property
    def trains_on_half(self) -> bool:
        """Whether only a random half of the samples is trained on."""
        return False

    @property
    def records_exact_loss(self) -> bool:
        """Whether, as a probe, it records losses that are right near zero too."""
        return False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs momentum > 0, got momentum=0")
        return self

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`."""
        return self.lr

    def batch_size_at(self, epoch: int) -> int:
        """Return the batch size of `epoch`."""
        return self.batch_size


class CyclicConfig(TrainingConfig):
    """A run whose learning rate goes up and down from some epoch on."""

    cyclic_batch_size: Annotated[
        int, Field(ge=1, description="Samples of a step in the cyclic phase.")
    ] = 16
    cyclic_high: Annotated[float, Field(gt=0, description="Its higher learning rate.")] = 0.01
    cyclic_low: Annotated[float, Field(gt=0, description="Its lower learning rate.")] = 0.001

    def with_cyclic_batch(self, size: int) -> Self:
        """Return it with this batch size in the cyclic phase, and rates that grow as it does."""
        factor = size / self.cyclic_batch_size
        return self.model_copy(
            update={
                "cyclic_batch_size": size,
                "cyclic_high": self.cyclic_high * factor,
                "cyclic_low": self.cyclic_low * factor,
            }
        )


class ProbeConfig(CyclicConfig):
    """The probing run, which records one loss per sample and epoch."""

    source: ClassVar[str] = (
        "Jiang et al., AAAI 2022 (repository jiangwenj02/CurveNet-V1, config/cycle)"
    )
    later: ClassVar[frozenset[str]] = frozenset({"loss_form"})
    earlier: ClassVar[dict[str, Any]] = {"loss_form": "float32"}

    epochs: Annotated[int, Field(ge=2, description="Length of the recorded curve, T.")] = 300
    cyclic_start: Annotated[
        int, Field(ge=0, description="First epoch of the square-wave learning rate.")
    ] = 120
    half_period: Annotated[
        int, Field(ge=1, description="Epochs at each level of the square wave.")
    ] = 15
    loss_form: Annotated[
        Literal["exact", "float32"],
        Field(
            description="What is recorded: the loss, right near zero too; or float32, as before, "
            "where it is 0 above a margin of 16.6."
        ),
    ] = "exact"

    @property
    def records_exact_loss(self) -> bool:
        """Whether it does."""
        return self.loss_form == "exact"

    def shortened(self, epochs: int) -> Self:
        """Return it with so many epochs; everything counted in epochs shrinks with them."""
        part = epochs / self.epochs
        return self.model_copy(
            update={
                "epochs": epochs,
                "cyclic_start": round(self.cyclic_start * part),
                "half_period": max(1, round(self.half_period * part)),
            }
        )

    def cut_short(self) -> Self:
        """Return it with three quarters of its constant phase and a sixth of its cyclic one.

        The first cyclic epochs tell wrong labels best, and only after enough constant ones:
        shrinking both alike ranks worse (docs/measurements.md, shorter probes).
        """
        constant = min(self.cyclic_start, self.epochs)
        cyclic = self.epochs - constant
        start, rest = round(0.75 * constant), max(1, round(cyclic / 6)) if cyclic else 0
        return self.model_copy(update={"epochs": max(2, start + rest), "cyclic_start": start})

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`: constant, then high and low in turn."""
        if epoch < self.cyclic_start:
            return self.lr
        block = (epoch - self.cyclic_start) // self.half_period
        return self.cyclic_high if block % 2 == 0 else self.cyclic_low

    def batch_size_at(self, epoch: int) -> int:
        """Return the batch size of `epoch`."""
        return self.batch_size if epoch < self.cyclic_start else self.cyclic_batch_size


class AllocateConfig(TrainingConfig):
    """The stage that trains the classifier that is kept, the same for every method."""

    source: ClassVar[str] = (
        "Jiang et al., AAAI 2022 (repository jiangwenj02/CurveNet-V1, config/aug)"
    )
    later: ClassVar[frozenset[str]] = frozenset({"schedule"})

    warmup: Annotated[int, Field(ge=0, description="Epochs of linear warm-up.")] = 5
    milestones: Annotated[
        tuple[int, ...], Field(description="Epochs at which the learning rate drops.")
    ] = (80, 100)
    gamma: Annotated[
        Annotated[float, Field(gt=0, le=1)] | tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(description="Factor of each drop; a list has one for each milestone."),
    ] = 0.1
    schedule: Annotated[
        Literal["step", "cosine", "linear"],
        Field(
            description="step: a drop at each milestone; cosine: half a wave down to 0; linear: "
            "constant to the first milestone, then straight down to 0."
        ),
    ] = "step"

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, got {list(self.milestones)}")
        if isinstance(self.gamma, tuple) and len(self.gamma) != len(self.milestones):
            raise ValueError(
                f"gamma has {len(self.gamma)} factors for {len(self.milestones)} milestones; "
                f"give one number, or one for each"
            )
        return self

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`: linear warm-up times the schedule."""
        warm = (epoch + 1) / self.warmup if epoch < self.warmup else 1.0
        return float(self.lr * warm * self._factor(epoch))

    def _factor(self, epoch: int) -> float:
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        if self.schedule == "linear":
            left = self.epochs - self.first_drop
            return min(1.0, (self.epochs - epoch) / left) if left else 1.0
        drops = sum(epoch >= milestone for milestone in self.milestones)
        if isinstance(self.gamma, tuple):
            return math.prod(self.gamma[:drops])
        return float(self.gamma**drops)

    def shortened(self, epochs: int) -> Self:
        """Return it with so many epochs; milestones that fall together multiply their factors."""
        part = epochs / self.epochs
        each = isinstance(self.gamma, tuple)
        gammas = self.gamma if isinstance(self.gamma, tuple) else (self.gamma,)
        factors: dict[int, float] = {}
        for k, milestone in enumerate(self.milestones):
            short = max(1, round(milestone * part))
            factors[short] = factors.get(short, 1.0) * gammas[k] if each else gammas[0]
        return self.model_copy(
            update={
                "epochs": epochs,
                "warmup": min(round(self.warmup * part), epochs),
                "milestones": tuple(factors),
                "gamma": tuple(factors.values()) if each else self.gamma,
            }
        )

    def straight_down(self) -> Self:
        """Return it with a rate that falls straight to 0 from the first drop on, if it has drops.

        That makes the most of few epochs: those after a last drop learn little.
        """
        if self.schedule != "step" or self.first_drop >= self.epochs:
            return self
        changed = {"schedule": "linear", "milestones": (self.first_drop,), "gamma": 0.1}
        return self.model_copy(update=changed)

    @property
    def first_drop(self) -> int:
        """The first epoch after the learning rate dropped; `epochs` if it never does."""
        return min([*self.milestones, self.epochs])


class HalfConfig(AllocateConfig):
    """The final training's recipe on a random half of the samples: a probe that can be held out."""

    half: Literal[True] = True

    @property
    def trains_on_half(self) -> bool:
        """Always."""
        return True
