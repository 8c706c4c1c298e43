"""One page of knobs: every section of a cell's config, with limits, units and meaning.

A cell is one point of a grid: data, bias, model, probe, allocate, method and seed. `CellConfig`
decides the numbers of a result and nothing else: paths, devices, workers and tracking are not
here, so that `identity` can hash all of it.

Defaults are the release profile: the details of the paper's released code (docs/reproduction.md).
"""

from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from curvetune.fingerprint import fingerprint
from curvetune.sections.base import Section
from curvetune.sections.features import (
    CleanNetConfig,
    MetaCleanerConfig,
    RoLTDRWConfig,
    SelfLearningConfig,
)
from curvetune.sections.hybrid import DistillConfig
from curvetune.sections.losses import (
    BootstrappingConfig,
    ClassBalancedConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMDRWConfig,
)
from curvetune.sections.method import MetaSetConfig, MethodConfig, NoiseRateConfig
from curvetune.sections.pretrained import GLCConfig, HARConfig, LCCNConfig, SAdaptationConfig
from curvetune.sections.reweighting import (
    CMWNetConfig,
    CurveNetConfig,
    FaMUSConfig,
    L2RWConfig,
    MWNetImbConfig,
    MWNetNoiseConfig,
    WeightNetConfig,
)
from curvetune.sections.selection import (
    CoTeachingConfig,
    MentorNetConfig,
    O2UNetConfig,
    O2UProbeConfig,
)
from curvetune.sections.training import (
    AllocateConfig,
    HalfConfig,
    ProbeConfig,
    TrainingConfig,
)

__all__ = [
    "METHOD_SECTIONS",
    "AllocateConfig",
    "AnyMethod",
    "BiasConfig",
    "BootstrappingConfig",
    "CMWNetConfig",
    "CellConfig",
    "ClassBalancedConfig",
    "CleanNetConfig",
    "CoTeachingConfig",
    "CrossEntropyConfig",
    "CurveNetConfig",
    "DataConfig",
    "DistillConfig",
    "FaMUSConfig",
    "FocalConfig",
    "GLCConfig",
    "HARConfig",
    "HalfConfig",
    "L2RWConfig",
    "LCCNConfig",
    "LDAMDRWConfig",
    "MWNetImbConfig",
    "MWNetNoiseConfig",
    "MentorNetConfig",
    "MetaCleanerConfig",
    "MetaSetConfig",
    "MethodConfig",
    "ModelConfig",
    "NoiseRateConfig",
    "O2UNetConfig",
    "O2UProbeConfig",
    "ProbeConfig",
    "RoLTDRWConfig",
    "SAdaptationConfig",
    "Section",
    "SelfLearningConfig",
    "TrainingConfig",
    "WeightNetConfig",
    "add_method",
]

# Bumped by hand when a change of the code moves the numbers of a stage.
SPLIT_VERSION = 1
PROBE_VERSION = 1
CELL_VERSION = 1

DataName = Literal["digits", "cifar10", "cifar100", "folder"]
NoiseKind = Literal["symmetric", "uniform", "uniform_prop", "exact_prop", "flip", "flip2", "real"]

# The clean meta set of the released code: 1,000 images of CIFAR; digits has 1,297 in all.
META_PER_CLASS: dict[str, int] = {"digits": 10, "cifar10": 100, "cifar100": 10}


class DataConfig(Section):
    """Which images, and how many of them."""

    later: ClassVar[frozenset[str]] = frozenset({"image_size"})

    name: DataName = "digits"
    meta_per_class: Annotated[
        int, Field(ge=0, description="Clean images of each class set aside as the meta set.")
    ] = 10
    per_class_limit: Annotated[
        int | None, Field(ge=1, description="Training images per class before the imbalance.")
    ] = None
    train_limit: Annotated[
        int | None, Field(ge=1, description="Training samples in all, after the bias.")
    ] = None
    test_limit: Annotated[int | None, Field(ge=1, description="Test samples in all.")] = None
    image_size: Annotated[
        int, Field(ge=8, le=512, description="Height and width of the images of a folder.")
    ] = 32

    @model_validator(mode="before")
    @classmethod
    def _meta_size_of_the_source(cls, values: Any) -> Any:
        if isinstance(values, dict) and "meta_per_class" not in values:
            size = META_PER_CLASS.get(str(values.get("name", "digits")))
            return values if size is None else {**values, "meta_per_class": size}
        return values

    @model_validator(mode="after")
    def _only_a_folder_is_resized(self) -> Self:
        if self.name != "folder" and self.image_size != 32:
            raise ValueError(
                f"image_size={self.image_size}: the images of {self.name} stay as they are; "
                f"leave it out (it is for data.name=folder)"
            )
        return self

    @property
    def is_biased_already(self) -> bool:
        """Whether an imbalance of 1 means the images as they are, rather than equal classes."""
        return self.name == "folder"


class BiasConfig(Section):
    """What is done to the training set: class imbalance first, then label noise."""

    imbalance: Annotated[
        float, Field(ge=1, description="Size of the largest class over the smallest.")
    ] = 1.0
    noise: Annotated[
        NoiseKind, Field(description="Which wrong labels: bias/noise.py; real: those of the data.")
    ] = "uniform_prop"
    noise_rate: Annotated[
        float, Field(ge=0, lt=1, description="Probability p of the noise kind.")
    ] = 0.0

    @model_validator(mode="after")
    def _real_noise_is_not_added(self) -> Self:
        if self.noise == "real" and self.noise_rate:
            raise ValueError(
                f"noise=real adds no wrong label to those that the data has, so noise_rate="
                f"{self.noise_rate:g} means nothing; leave it at 0"
            )
        return self

    @property
    def truth_is_known(self) -> bool:
        """Whether it is known which given labels are wrong: not if they come with the data."""
        return self.noise != "real"

    def identity(self) -> dict[str, Any]:
        """Return what decides the biased set: without noise, its kind decides nothing."""
        return self.model_dump() | ({"noise": None} if self.noise_rate == 0 else {})


class ModelConfig(Section):
    """The classifier."""

    later: ClassVar[frozenset[str]] = frozenset({"precision"})

    name: Literal["resnet8", "resnet20", "resnet32", "wrn-16-8"] = "resnet32"
    init: Annotated[
        Literal["normal", "kaiming"],
        Field(description="normal: N(0, 0.02) convolutions (released code); kaiming: He et al."),
    ] = "normal"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="bfloat16: of the convolutions alone; faster, other numbers."),
    ] = "float32"


# Every method's section; its `name` picks it.
_Method = (
    CrossEntropyConfig
    | ClassBalancedConfig
    | FocalConfig
    | LDAMDRWConfig
    | CoTeachingConfig
    | O2UNetConfig
    | MWNetNoiseConfig
    | MWNetImbConfig
    | HARConfig
    | CurveNetConfig
    | BootstrappingConfig
    | SAdaptationConfig
    | LCCNConfig
    | CleanNetConfig
    | MetaCleanerConfig
    | SelfLearningConfig
    | DistillConfig
    | FaMUSConfig
    | L2RWConfig
    | GLCConfig
    | MentorNetConfig
    | CMWNetConfig
    | RoLTDRWConfig
)
AnyMethod = Annotated[_Method, Field(discriminator="name")]
METHOD_SECTIONS: dict[str, type[MethodConfig]] = {
    section.model_fields["name"].default: section for section in get_args(_Method)
}


class CellConfig(Section):
    """One cell of a grid: everything that decides its numbers, but the bytes of the data."""

    data: DataConfig = DataConfig()
    bias: BiasConfig = BiasConfig()
    model: ModelConfig = ModelConfig()
    probe: ProbeConfig = ProbeConfig()
    allocate: AllocateConfig = AllocateConfig()
    method: AnyMethod = CrossEntropyConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

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

    @model_validator(mode="after")
    def _the_method_gets_what_it_needs(self) -> Self:
        method = self.method
        if method.meta_set == "clean" and self.data.meta_per_class == 0:
            instead = ", or method.meta=low_loss" if isinstance(method, CurveNetConfig) else ""
            raise ValueError(
                f"{method.name} needs a clean set and data.meta_per_class=0 sets none aside; "
                f"allowed is at least 1: --set meta_per_class=10{instead}"
            )
        clean = self.data.meta_per_class if method.meta_set == "clean" else 0
        if isinstance(method, MetaSetConfig) and (method.meta_images or 0) > clean:
            raise ValueError(
                f"method.meta_images={method.meta_images} is more than the {clean} clean images of "
                f"each class that the method has (data.meta_per_class, method.meta=clean)"
            )
        if (
            isinstance(method, NoiseRateConfig)
            and method.noise_rate_estimate == "given"
            and self.bias.noise == "real"
        ):
            raise ValueError(
                f"{method.name} needs the noise rate, and nobody knows that of real noise; give "
                f"it with --set noise_rate_estimate=0.2, or have it estimated from a probe with "
                f"--set noise_rate_estimate=auto"
            )
        if method.recipe == "native" and method.native is None:
            raise ValueError(
                f"{method.name} has no published recipe that fits; leave method.recipe=default"
            )
        return self

    @property
    def probe_recipe(self) -> TrainingConfig | None:
        """The recipe of the method's probe, None if it has none."""
        return self.method.probe_recipe(self.probe, self.allocate)

    def split_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the split: the data's content `digest`, the bias and the seed."""
        return {
            "version": SPLIT_VERSION,
            "data": self.data.identity() | {"digest": digest},
            "bias": self.bias.identity(),
            "seed": self.seed,
        }

    def probe_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the curves: the split, the model and the probing run."""
        assert self.probe_recipe is not None, f"{self.method.name} has no probe"
        return {
            "version": PROBE_VERSION,
            "split": self.split_identity(digest),
            "model": self.model.identity(),
            "probe": self.probe_recipe.identity(),
        }

    def cell_identity(self, digest: str) -> dict[str, Any]:
        """Return what decides the result; the probe only where the method reads its curves."""
        return {
            "version": CELL_VERSION,
            "split": self.split_identity(digest),
            "model": self.model.identity(),
            "probe": self.probe_recipe.identity() if self.probe_recipe else None,
            "allocate": self.allocate.identity(),
            "method": self.method.identity(),
        }

    def split_id(self, digest: str) -> str:
        """Return the address of the split in the storage."""
        return fingerprint(self.split_identity(digest))

    def probe_id(self, digest: str) -> str | None:
        """Return the address of the probe, or None if the method needs none."""
        return fingerprint(self.probe_identity(digest)) if self.probe_recipe else None

    def cell_id(self, digest: str) -> str:
        """Return the address of the result."""
        return fingerprint(self.cell_identity(digest))


def add_method(section: type[MethodConfig]) -> None:
    """Let cells of this process have a method that is not of this package.

    `section` becomes a row of `METHOD_SECTIONS`, and one more choice of `CellConfig.method`; its
    builder goes into `curvetune.methods.METHODS`. A method of the package is in `_Method` instead.

    Raises:
        ValueError: another method has that name.
    """
    name: str = section.model_fields["name"].default
    if METHOD_SECTIONS.setdefault(name, section) is not section:
        raise ValueError(f"there is a method {name!r} already; give the new one another name")
    CellConfig.model_fields["method"].annotation = reduce(or_, METHOD_SECTIONS.values())
    CellConfig.model_rebuild(force=True)
