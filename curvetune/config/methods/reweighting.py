"""Methods that learn sample weights from a clean meta set."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.method import LowLoss, MetaSetConfig, MetaSource, VirtualStep
from curvetune.config.training import AllocateConfig, ProbeConfig, TrainingConfig
from curvetune.config.tunable import Choice, LogUniform, Ranges


class WeightNetConfig(MetaSetConfig):
    """Options common to methods that learn a network of sample weights from a meta set."""

    later: ClassVar[frozenset[str]] = MetaSetConfig.later | {
        "meta_every",
        "meta_gradient",
        "update",
    }

    cost: ClassVar[str] = "3.5"  # docs/measurements.md
    weight_lr: Annotated[float, Field(gt=0, description="Adam on the weight net.")] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, description="Of the weight net.")] = 1e-4
    skip_layers: Annotated[
        int, Field(ge=0, le=3, description="Stages frozen in the virtual step, SL.")
    ] = 0
    # Cheaper and not exact; what they cost in accuracy: docs/measurements.md.
    meta_every: Annotated[
        int, Field(ge=1, description="Steps from one update of the weight net to the next.")
    ] = 1
    meta_gradient: Annotated[
        Literal["exact", "finite_difference"],
        Field(description="finite_difference: two losses of each sample instead of a derivative."),
    ] = "exact"
    update: Annotated[
        Literal["at-once", "lag-1"],
        Field(
            description="When what the weight net learns counts: in the same step, or from the "
            "next batch, which saves a backward pass."
        ),
    ] = "at-once"

    @model_validator(mode="after")
    def _a_late_update_saves_something(self) -> Self:
        if self.update == "lag-1" and self.skip_layers:
            raise ValueError(
                f"update=lag-1 with skip_layers={self.skip_layers} saves nothing: with frozen "
                f"stages the virtual step has a pass of its own; allowed is update=at-once, or "
                f"skip_layers=0"
            )
        return self

    def as_fast(self, before: int, after: int) -> Self:
        """Return it with an update at every second step at most, that counts a batch later."""
        update = self.update if self.skip_layers else "lag-1"
        return self.model_copy(update={"meta_every": max(2, self.meta_every), "update": update})


class MWNetNoiseConfig(WeightNetConfig):
    """Meta-Weight-Net as published for label noise: weight = MLP(current loss)."""

    source = "Shu et al., NeurIPS 2019 (repository xjtushujun/meta-weight-net)"
    tunable: ClassVar[Ranges] = {
        "weight_lr": LogUniform(
            1e-5, 1e-2, "has those released, 1e-3 for noise, 1e-5 for imbalance"
        ),
    }

    name: Literal["mw-net-noise"] = "mw-net-noise"
    native = AllocateConfig(
        epochs=120, batch_size=100, milestones=(80, 100), warmup=0, nesterov=False
    )

    hidden: Annotated[int, Field(ge=1, description="Width of the hidden layer.")] = 100
    virtual_step: VirtualStep = "sgd"


class MWNetImbConfig(WeightNetConfig):
    """Meta-Weight-Net as published for class imbalance: weights sum to one."""

    source = "Shu et al., NeurIPS 2019 (repository xjtushujun/Meta-weight-net_class-imbalance)"
    tunable: ClassVar[Ranges] = {
        "weight_lr": LogUniform(
            1e-5, 1e-2, "has those released, 1e-3 for noise, 1e-5 for imbalance"
        ),
    }

    name: Literal["mw-net-imb"] = "mw-net-imb"
    native = AllocateConfig(epochs=100, batch_size=100, milestones=(80, 90), warmup=0)

    weight_lr: Annotated[float, Field(gt=0, description="Nesterov's SGD on the weight net.")] = 1e-5
    weight_decay: Annotated[float, Field(ge=0, description="Of the weight net.")] = 5e-4
    hidden: Annotated[int, Field(ge=1, description="Width of the hidden layer.")] = 100
    virtual_step: VirtualStep = "sgd"
    update: Annotated[
        Literal["at-once"], Field(description="Its virtual step has slopes of its own.")
    ] = "at-once"

    def as_fast(self, before: int, after: int) -> Self:
        """Return it with an update at every second step at most."""
        return self.model_copy(update={"meta_every": max(2, self.meta_every)})


class CMWNetConfig(WeightNetConfig):
    """CMW-Net: Meta-Weight-Net with an output for each group of classes of similar size."""

    source = "Shu et al., TPAMI 2023"
    # No native recipe: the released code learns weights from epoch 160 of 200 on long tails, and
    # mixes images and soft labels in under noise.
    name: Literal["cmw-net"] = "cmw-net"

    hidden: Annotated[int, Field(ge=1, description="Width of the hidden layer.")] = 100
    size_groups: Annotated[int, Field(ge=1, description="Groups of classes by size, k-means.")] = 3
    virtual_step: VirtualStep = "sgd"


class FaMUSConfig(WeightNetConfig):
    """FaMUS: Meta-Weight-Net, learning through a few layers that gates choose at every step."""

    source = "Xu et al., CVPR 2021"
    # The paper's, for long tails; it gives no batch size, so that is Meta-Weight-Net's.
    native = AllocateConfig(epochs=200, batch_size=100, milestones=(160, 180), warmup=0)
    native_options: ClassVar[dict[str, Any]] = {"sampler_lr": 1e-2}

    name: Literal["famus"] = "famus"
    skip_layers: Annotated[Literal[0], Field(description="The gates choose the layers.")] = 0
    meta_every: Annotated[Literal[1], Field(description="The gates choose at every step.")] = 1
    hidden: Annotated[int, Field(ge=1, description="Hidden layer of the weight net.")] = 100
    sampler_hidden: Annotated[int, Field(ge=1, description="Hidden layer of a gate's net.")] = 128
    sampler_lr: Annotated[float, Field(gt=0, description="SGD on the gates' networks.")] = 0.1
    open_layers: Annotated[float, Field(ge=0, description="Open gates aimed at, K.")] = 4
    open_weight: Annotated[float, Field(ge=0, description="Of that aim, λ1.")] = 0.1
    match_weight: Annotated[
        float, Field(ge=0, description="Of the last layer's pooled gradients being alike, λ2.")
    ] = 0.1

    def as_fast(self, before: int, after: int) -> Self:
        """Return it with updates that count a batch later."""
        return self.model_copy(update={"update": "lag-1"})


class L2RWConfig(MetaSetConfig):
    """L2RW: weight = agreement of a sample's gradient with that of the clean set."""

    source = "Ren et al., ICML 2018"
    cost = "2.8"  # 8 to 8.5 forward passes over 3: no virtual backward (docs/measurements.md)
    native = AllocateConfig(
        # 80,000 steps of 100 with drops at 40,000 and 60,000, in epochs of CIFAR
        epochs=160,
        batch_size=100,
        milestones=(80, 120),
        warmup=0,
        nesterov=False,
        weight_decay=2e-4,
    )

    name: Literal["l2rw"] = "l2rw"


class CurveNetConfig(WeightNetConfig):
    """CurveNet: weight = network(loss curve of the probe, class)."""

    source = "Jiang et al., AAAI 2022"
    cost = "2"  # 80 of 200 epochs learn weights, at 3.5
    native = AllocateConfig()
    later: ClassVar[frozenset[str]] = WeightNetConfig.later | {"curve"}

    tunable: ClassVar[Ranges] = {
        "embedding_dim": Choice((32, 64, 96), "Table 9: the values of P"),
        "weight_lr": LogUniform(1e-4, 1e-2, "a factor of 10 around the released 1e-3"),
    }

    name: Literal["curvenet"] = "curvenet"
    curve: Annotated[
        Literal["loss", "margin", "both"],
        Field(description="What of each epoch it reads; both: one after the other."),
    ] = "loss"
    embedding_dim: Annotated[
        int, Field(ge=1, description="Width of the curve's features and of the class embedding, P.")
    ] = 64
    removed_losses: Annotated[
        int, Field(ge=0, description="First losses dropped from the curve, S.")
    ] = 5
    drop_last: Annotated[
        bool, Field(description="Drop the last loss too, as the released slice [5:299] does.")
    ] = True
    normalise: Annotated[
        Literal["mean", "mean_std"], Field(description="Of the curves, per class and epoch.")
    ] = "mean"
    embedding_scale: Annotated[
        float, Field(gt=0, description="The released code adds the class embedding twice.")
    ] = 2.0
    head_layers: Annotated[Literal[2, 3], Field(description="Layers after the sum.")] = 3
    floor: Annotated[float, Field(ge=0, lt=1, description="Least weight.")] = 0.02
    last_bias: Annotated[float, Field(description="Initial bias of the last layer.")] = 4.5
    virtual_step: Annotated[
        Literal["sgd", "optimizer"],
        Field(
            description="sgd: Eq. 11 of the source; optimizer: with momentum and weight decay, as "
            "released."
        ),
    ] = "optimizer"
    late_weights: Annotated[
        Literal["last", "frozen"],
        Field(description="After the first drop: each sample's last weight, or the frozen net's."),
    ] = "last"
    meta: Annotated[
        Literal["clean", "low_loss"],
        Field(description="low_loss: samples with the lowest probe loss stand in for clean data."),
    ] = "clean"
    low_loss_per_class: Annotated[
        int, Field(ge=1, description="How many of each class do, with meta=low_loss.")
    ] = 10
    drw: Annotated[
        bool, Field(description="Deferred re-weighting by class after the first drop.")
    ] = False
    drw_beta: Annotated[
        float, Field(ge=0, lt=1, description="Of the effective number that it weighs by.")
    ] = 0.9999

    @property
    def meta_set(self) -> MetaSource | None:
        """The clean set, or the low-loss samples that stand in for it."""
        return self.meta

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the cell's probe."""
        return probe

    @property
    def reads_margins(self) -> bool:
        """Whether it does."""
        return self.curve != "loss"

    @property
    def reads_by_row(self) -> bool:
        """Whether curves are losses alone: margins are divided by a number of them all."""
        return not self.reads_margins

    @property
    def low_loss(self) -> LowLoss | None:
        """The samples of the lowest loss, if they are asked for."""
        if self.meta != "low_loss":
            return None
        return LowLoss(self.removed_losses, self.drop_last, self.low_loss_per_class)

    @property
    def without_clean_set(self) -> str:
        """Low-loss samples."""
        return "method.meta=low_loss"

    @property
    def frozen_stages(self) -> int:
        """SL."""
        return self.skip_layers

    def check_probe(self, probe: ProbeConfig) -> None:
        """Refuse a curve of which nothing is left, and margins that may not be there.

        Raises:
            ValueError: nothing is, or they may not be.
        """
        if self.reads_margins and not probe.records_exact_loss:
            raise ValueError(
                f"method.curve={self.curve} reads margins, which a probe with probe.loss_form="
                f"{probe.loss_form} may not have: older ones kept losses alone; allowed is "
                f"probe.loss_form=exact, or method.curve=loss"
            )
        if self.removed_losses + self.drop_last >= probe.epochs:
            raise ValueError(
                f"method.removed_losses={self.removed_losses} leaves nothing of the "
                f"{probe.epochs} epochs of the probe; allowed is at most "
                f"{probe.epochs - 1 - self.drop_last}"
            )

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return it with as large a share of the curve removed."""
        removed = min(round(self.removed_losses * after / before), after - 1 - self.drop_last)
        return self.model_copy(update={"removed_losses": removed})

    def as_fast(self, before: int, after: int) -> Self:
        """Return it with rarer and later updates, and as large a share of the curve removed."""
        return super().as_fast(before, after).shortened(before, after, lambda epochs: epochs)

    def for_two_epochs(self, each: int) -> Self:
        """Return it with one loss removed at most."""
        return self.model_copy(update={"removed_losses": min(1, self.removed_losses)})

    def as_in_paper(self) -> Self:
        """Return it with all in which the text differs from the released code."""
        return self.model_copy(
            update={
                "virtual_step": "sgd",
                "embedding_scale": 1.0,
                "head_layers": 2,
                "floor": 0.0,
                "last_bias": 0.0,
                "drop_last": False,
                "late_weights": "frozen",
            }
        )
