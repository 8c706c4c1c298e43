"""Methods that leave samples out: those whose loss is high."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.method import MetaSource, MethodConfig, NoiseRateConfig
from curvetune.config.training import AllocateConfig, CyclicConfig, ProbeConfig, TrainingConfig
from curvetune.config.tunable import Choice, Ranges


class CoTeachingConfig(NoiseRateConfig):
    """Co-teaching: two networks, each trained on the samples whose loss the other finds low."""

    source = "Han et al., NeurIPS 2018 (repository bhanML/Co-teaching)"
    cost = "2"  # a forward and a backward pass of two networks
    native = AllocateConfig(
        lr=1e-3, milestones=(80,), schedule="linear", warmup=0, nesterov=False, weight_decay=0.0
    )
    native_options: ClassVar[dict[str, Any]] = {"optimizer": "adam"}

    tunable: ClassVar[Ranges] = {
        "exponent": Choice((0.5, 1.0, 2.0), "the values that the released --exponent names"),
    }

    name: Literal["co-teaching"] = "co-teaching"
    gradual_epochs: Annotated[
        int, Field(ge=1, description="Epochs until all that is to be left out is left out, T_k.")
    ] = 10
    exponent: Annotated[
        float, Field(gt=0, description="Of the noise rate in those epochs' forget rate, c.")
    ] = 1.0
    optimizer: Annotated[
        Literal["sgd", "adam"],
        Field(description="adam: as published, beta1 0.9, and 0.1 from the first drop on."),
    ] = "sgd"


class O2UProbeConfig(CyclicConfig):
    """O2U-Net's first two stages: training at a falling rate, then at one that falls in cycles."""

    epochs: Annotated[int, Field(ge=2, description="Of both stages.")] = 500
    lr: Annotated[
        float, Field(gt=0, description="A half of it from 25 %, a tenth from 50 % of stage 1 on.")
    ] = 0.01
    nesterov: Annotated[bool, Field(description="Nesterov's momentum instead of plain.")] = False
    cyclic_start: Annotated[int, Field(ge=0, description="First epoch of stage 2.")] = 250
    cyclic_batch_size: Annotated[int, Field(ge=1, description="Samples of a step in stage 2.")] = 16
    cyclic_high: Annotated[float, Field(gt=0, description="Where the rate falls from.")] = 0.01
    cyclic_low: Annotated[float, Field(gt=0, description="Rate of a cycle's last epoch.")] = 0.001
    cycle: Annotated[int, Field(ge=1, description="Epochs from one low to the next.")] = 10

    def shortened(self, epochs: int) -> Self:
        """Return it with so many epochs; everything counted in epochs shrinks with them."""
        part = epochs / self.epochs
        return self.model_copy(
            update={
                "epochs": epochs,
                "cyclic_start": min(round(self.cyclic_start * part), epochs - 1),
                "cycle": max(1, round(self.cycle * part)),
            }
        )

    @model_validator(mode="after")
    def _some_epochs_are_cyclic(self) -> Self:
        if self.cyclic_start >= self.epochs:
            raise ValueError(
                f"cyclic_start={self.cyclic_start} leaves no cyclic epoch of epochs={self.epochs}; "
                f"allowed is at most {self.epochs - 1}"
            )
        return self

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`: two drops, then (1 − t)·high + t·low."""
        if epoch >= self.cyclic_start:
            t = ((epoch - self.cyclic_start) % self.cycle + 1) / self.cycle
            return (1 - t) * self.cyclic_high + t * self.cyclic_low
        if epoch >= 0.5 * self.cyclic_start:
            return self.lr / 10
        return self.lr if epoch < 0.25 * self.cyclic_start else self.lr / 2

    def batch_size_at(self, epoch: int) -> int:
        """Return the batch size of `epoch`."""
        return self.batch_size if epoch < self.cyclic_start else self.cyclic_batch_size


class O2UNetConfig(NoiseRateConfig):
    """O2U-Net: leave out what has a high loss while the learning rate goes up and down."""

    source = "Huang et al., ICCV 2019 (repository hjimce/O2U-Net)"
    cost = "1"  # cross entropy on fewer samples
    native = AllocateConfig(
        epochs=250, lr=0.01, milestones=(63, 125), gamma=(0.5, 0.2), warmup=0, nesterov=False
    )

    name: Literal["o2u-net"] = "o2u-net"
    o2u_probe: Annotated[
        O2UProbeConfig, Field(description="The first two stages, in place of the cell's probe.")
    ] = O2UProbeConfig()

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return its own recipe, which a noise rate is estimated from too."""
        return self.o2u_probe

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return it with a shorter probe of its own."""
        own = self.o2u_probe
        return self._with(own.shortened(max(2, shorter(own.epochs))))

    def for_two_epochs(self, each: int) -> Self:
        """Return it with `each` epochs of both stages."""
        own = self.o2u_probe
        parts = {"epochs": 2 * each, "cyclic_start": min(own.cyclic_start, each), "cycle": 1}
        return self._with(own.model_copy(update=parts))

    def with_cyclic_batch(self, size: int) -> Self:
        """Return it with this batch size in the second stage."""
        return self._with(self.o2u_probe.with_cyclic_batch(size))

    def _with(self, probe: O2UProbeConfig) -> Self:
        return self.model_copy(update={"o2u_probe": probe})


class MentorNetConfig(MethodConfig):
    """MentorNet: weigh a sample by how its loss compares with a percentile of recent losses."""

    source = "Jiang et al., ICML 2018 (repository google/mentornet)"
    cost = "1"  # one forward and one backward pass; the mentor has 250 parameters
    native = AllocateConfig(
        epochs=100, milestones=(50, 64, 77), warmup=0, nesterov=False, weight_decay=2e-4
    )

    name: Literal["mentornet"] = "mentornet"
    kind: Annotated[
        Literal["pd", "dd"],
        Field(description="pd: a predefined curriculum; dd: learned from the clean set."),
    ] = "pd"
    loss_percentile: Annotated[
        float, Field(gt=0, lt=1, description="Share of a batch's losses below the threshold.")
    ] = 0.75
    percentile_decay: Annotated[
        float, Field(ge=0, lt=1, description="Of the threshold's moving average over steps.")
    ] = 0.5
    burn_in: Annotated[
        float, Field(ge=0, le=1, description="Share of the epochs in which every weight is 1.")
    ] = 0.18
    linear_start: Annotated[
        float, Field(ge=0, le=1, description="Share from which pd's weights fall linearly.")
    ] = 0.9
    linear_width: Annotated[
        float, Field(gt=0, description="Loss over the threshold at which they reach 0, gamma.")
    ] = 1.0
    burn_in_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of samples left out at random in the burn-in.")
    ] = 0.5
    example_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of samples left out at random after it.")
    ] = 0.05
    mentor_noise: Annotated[
        float, Field(gt=0, lt=1, description="Share of labels made wrong for dd's mentor.")
    ] = 0.2
    mentor_steps: Annotated[int, Field(ge=1, description="Training steps of dd's mentor.")] = 1000
    mentor_lr: Annotated[float, Field(gt=0, description="Of Adam on dd's mentor.")] = 0.1

    @property
    def meta_set(self) -> MetaSource | None:
        """The clean set for `dd`, none for `pd`."""
        return "clean" if self.kind == "dd" else None
