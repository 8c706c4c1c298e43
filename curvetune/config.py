"""One page of knobs: every section of a cell's config, with limits, units and meaning.

A cell is one point of a grid: data, bias, model, probe, allocate, method and seed. `CellConfig`
decides the numbers of a result and nothing else: paths, devices, workers and tracking are not
here, so that `identity` can hash all of it.

Defaults are the release profile: the details of the paper's released code (docs/reproduction.md).
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curvetune.fingerprint import fingerprint

# Bumped by hand when a change of the code moves the numbers of a stage.
SPLIT_VERSION = 1
PROBE_VERSION = 1
CELL_VERSION = 1

DataName = Literal["digits", "cifar10", "cifar100"]
NoiseKind = Literal["symmetric", "uniform", "uniform_prop", "flip", "flip2"]

# The clean meta set of the released code: 1,000 images of CIFAR; digits has 1,297 in all.
META_PER_CLASS: dict[str, int] = {"digits": 10, "cifar10": 100, "cifar100": 10}


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Which images, and how many of them."""

    name: DataName = "digits"
    meta_per_class: Annotated[
        int, Field(ge=1, description="Clean images of each class set aside as the meta set.")
    ] = 10
    per_class_limit: Annotated[
        int | None, Field(ge=1, description="Training images per class before the imbalance.")
    ] = None
    train_limit: Annotated[
        int | None, Field(ge=1, description="Training samples in all, after the bias.")
    ] = None
    test_limit: Annotated[int | None, Field(ge=1, description="Test samples in all.")] = None

    @model_validator(mode="before")
    @classmethod
    def _meta_size_of_the_source(cls, values: Any) -> Any:
        if isinstance(values, dict) and "meta_per_class" not in values:
            size = META_PER_CLASS.get(str(values.get("name", "digits")))
            return values if size is None else {**values, "meta_per_class": size}
        return values


class BiasConfig(Section):
    """What is done to the training set: class imbalance first, then label noise."""

    imbalance: Annotated[
        float, Field(ge=1, description="Size of the largest class over the smallest.")
    ] = 1.0
    noise: Annotated[NoiseKind, Field(description="Which wrong labels: bias/noise.py.")] = (
        "uniform_prop"
    )
    noise_rate: Annotated[
        float, Field(ge=0, lt=1, description="Probability p of the noise kind.")
    ] = 0.0

    def identity(self) -> dict[str, Any]:
        """Return what decides the biased set: without noise, its kind decides nothing."""
        return self.model_dump() | ({"noise": None} if self.noise_rate == 0 else {})


class ModelConfig(Section):
    """The classifier."""

    name: Literal["resnet8", "resnet20", "resnet32"] = "resnet32"
    init: Annotated[
        Literal["normal", "kaiming"],
        Field(description="normal: N(0, 0.02) convolutions (released code); kaiming: He et al."),
    ] = "normal"


class TrainingConfig(Section):
    """SGD with momentum: what the probe and every final training have in common."""

    epochs: Annotated[int, Field(ge=1)] = 200
    batch_size: Annotated[int, Field(ge=1)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs momentum > 0, got momentum=0")
        return self


class ProbeConfig(TrainingConfig):
    """The probing run, which records one loss per sample and epoch (methods.md 4.1)."""

    epochs: Annotated[int, Field(ge=2, description="Length of the recorded curve, T.")] = 300
    cyclic_start: Annotated[
        int, Field(ge=0, description="First epoch of the square-wave learning rate.")
    ] = 120
    cyclic_batch_size: Annotated[int, Field(ge=1)] = 16
    cyclic_high: Annotated[float, Field(gt=0)] = 0.01
    cyclic_low: Annotated[float, Field(gt=0)] = 0.001
    half_period: Annotated[
        int, Field(ge=1, description="Epochs at each level of the square wave.")
    ] = 15

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
    """The final training, the same for every method (methods.md 4.4)."""

    warmup: Annotated[int, Field(ge=0, description="Epochs of linear warm-up.")] = 5
    milestones: Annotated[
        tuple[int, ...], Field(description="Epochs at which the learning rate drops.")
    ] = (80, 100)
    gamma: Annotated[float, Field(gt=0, le=1, description="Factor of each drop.")] = 0.1

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, got {list(self.milestones)}")
        return self

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of `epoch`: linear warm-up, then a step at each milestone."""
        drops = sum(epoch >= milestone for milestone in self.milestones)
        warm = (epoch + 1) / self.warmup if epoch < self.warmup else 1.0
        return float(self.lr * warm * self.gamma**drops)

    def batch_size_at(self, epoch: int) -> int:
        """Return the batch size of `epoch`: always the same."""
        return self.batch_size

    @property
    def first_drop(self) -> int:
        """The first epoch after the learning rate dropped; `epochs` if it never does."""
        return min([*self.milestones, self.epochs])


class MethodConfig(Section):
    """What every method's section states about it; facts, not options."""

    source: ClassVar[str]
    cost: ClassVar[str] = "1"  # training time relative to cross entropy, the probe apart
    needs_probe: ClassVar[bool] = False
    needs_noise_rate: ClassVar[bool] = False

    @property
    def meta_set(self) -> Literal["clean", "low_loss"] | None:
        """Where the method's meta batches come from; None if it takes none."""
        return None


class CrossEntropyConfig(MethodConfig):
    """Cross entropy on the given labels: the baseline."""

    source = "methods.md 6.1"
    name: Literal["cross-entropy"] = "cross-entropy"


class WeightNetConfig(MethodConfig):
    """Options common to methods that learn a network of sample weights from a meta set."""

    cost = "3.5"  # docs/performance.md
    weight_lr: Annotated[float, Field(gt=0, description="Adam on the weight net.")] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, description="Of the weight net.")] = 1e-4
    meta_batch_size: Annotated[int, Field(ge=1)] = 128
    skip_layers: Annotated[
        int, Field(ge=0, le=3, description="Stages frozen in the virtual step, SL.")
    ] = 0

    @property
    def meta_set(self) -> Literal["clean", "low_loss"] | None:
        """The clean set."""
        return "clean"


class MWNetNoiseConfig(WeightNetConfig):
    """Meta-Weight-Net as published for label noise: weight = MLP(current loss)."""

    source = "Shu et al., NeurIPS 2019 (repository meta-weight-net)"
    name: Literal["mw-net-noise"] = "mw-net-noise"
    hidden: Annotated[int, Field(ge=1, description="Width of the hidden layer.")] = 100
    virtual_step: Literal["sgd", "optimizer"] = "sgd"


class CurveNetConfig(WeightNetConfig):
    """CurveNet: weight = network(loss curve of the probe, class)."""

    source = "Jiang et al., AAAI 2022"
    cost = "2"  # 80 of 200 epochs learn weights, at 3.5
    needs_probe = True

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
    def meta_set(self) -> Literal["clean", "low_loss"] | None:
        """The clean set, or the low-loss samples that stand in for it."""
        return self.meta


AnyMethod = Annotated[
    CrossEntropyConfig | MWNetNoiseConfig | CurveNetConfig, Field(discriminator="name")
]
METHOD_SECTIONS: dict[str, type[MethodConfig]] = {
    "cross-entropy": CrossEntropyConfig,
    "mw-net-noise": MWNetNoiseConfig,
    "curvenet": CurveNetConfig,
}


class CellConfig(Section):
    """One cell of a grid: everything that decides its numbers, but the bytes of the data."""

    data: DataConfig = DataConfig()
    bias: BiasConfig = BiasConfig()
    model: ModelConfig = ModelConfig()
    probe: ProbeConfig = ProbeConfig()
    allocate: AllocateConfig = AllocateConfig()
    method: AnyMethod = CrossEntropyConfig()
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _the_curve_is_not_empty(self) -> Self:
        if isinstance(self.method, CurveNetConfig):
            dropped = self.method.removed_losses + self.method.drop_last
            if dropped >= self.probe.epochs:
                raise ValueError(
                    f"method.removed_losses={self.method.removed_losses} leaves nothing of the "
                    f"{self.probe.epochs} epochs of the probe; allowed is at most "
                    f"{self.probe.epochs - 1 - self.method.drop_last}"
                )
        return self

    def split_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the split: the data's content `digest`, the bias and the seed."""
        return {
            "version": SPLIT_VERSION,
            "data": self.data.model_dump() | {"digest": digest},
            "bias": self.bias.identity(),
            "seed": self.seed,
        }

    def probe_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the curves: the split, the model and the probing run."""
        return {
            "version": PROBE_VERSION,
            "split": self.split_identity(digest),
            "model": self.model.model_dump(),
            "probe": self.probe.model_dump(),
        }

    def cell_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the result; the probe only where the method reads its curves."""
        return {
            "version": CELL_VERSION,
            "split": self.split_identity(digest),
            "model": self.model.model_dump(),
            "probe": self.probe.model_dump() if self.method.needs_probe else None,
            "allocate": self.allocate.model_dump(mode="json"),
            "method": self.method.model_dump(),
        }

    def split_id(self, digest: str) -> str:
        """Return the address of the split in the storage."""
        return fingerprint(self.split_identity(digest))

    def probe_id(self, digest: str) -> str | None:
        """Return the address of the probe, or None if the method needs none."""
        return fingerprint(self.probe_identity(digest)) if self.method.needs_probe else None

    def cell_id(self, digest: str) -> str:
        """Return the address of the result."""
        return fingerprint(self.cell_identity(digest))
