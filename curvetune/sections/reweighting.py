"""Methods that learn sample weights from a clean meta set."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from curvetune.sections.method import MetaSetConfig, MetaSource
from curvetune.sections.training import AllocateConfig, ProbeConfig, TrainingConfig


class WeightNetConfig(MetaSetConfig):
    """Options common to methods that learn a network of sample weights from a meta set."""

    cost: ClassVar[str] = "3.5"  # docs/performance.md
    weight_lr: Annotated[float, Field(gt=0, description="Adam on the weight net.")] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, description="Of the weight net.")] = 1e-4
    skip_layers: Annotated[
        int, Field(ge=0, le=3, description="Stages frozen in the virtual step, SL.")
    ] = 0


class MWNetNoiseConfig(WeightNetConfig):
    """Meta-Weight-Net as published for label noise: weight = MLP(current loss)."""

    source = "Shu et al., NeurIPS 2019 (repository meta-weight-net)"
    name: Literal["mw-net-noise"] = "mw-net-noise"
    native = AllocateConfig(
        epochs=120, batch_size=100, milestones=(80, 100), warmup=0, nesterov=False
    )

    hidden: Annotated[int, Field(ge=1, description="Width of the hidden layer.")] = 100
    virtual_step: Literal["sgd", "optimizer"] = "sgd"


class CurveNetConfig(WeightNetConfig):
    """CurveNet: weight = network(loss curve of the probe, class)."""

    source = "Jiang et al., AAAI 2022"
    cost = "2"  # 80 of 200 epochs learn weights, at 3.5
    native = AllocateConfig()

    name: Literal["curvenet"] = "curvenet"
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
        Field(description="sgd: Eq. 11; optimizer: with momentum and weight decay, as released."),
    ] = "optimizer"
    late_weights: Annotated[
        Literal["last", "frozen"],
        Field(description="After the first drop: each sample's last weight, or the frozen net's."),
    ] = "last"
    meta: Annotated[
        Literal["clean", "low_loss"],
        Field(description="low_loss: samples with the lowest probe loss stand in for clean data."),
    ] = "clean"
    low_loss_per_class: Annotated[int, Field(ge=1)] = 10
    drw: Annotated[
        bool, Field(description="Deferred re-weighting by class after the first drop.")
    ] = False
    drw_beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999

    @property
    def meta_set(self) -> MetaSource | None:
        """The clean set, or the low-loss samples that stand in for it."""
        return self.meta

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the cell's probe."""
        return probe
