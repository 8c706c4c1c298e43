"""One cell: every section that decides its numbers, and its addresses in the storage."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Self, get_args

from pydantic import Field, model_validator

from curvetune.config.base import Section
from curvetune.config.bias import HUMAN_KINDS, BiasConfig
from curvetune.config.data import DataConfig
from curvetune.config.fingerprint import fingerprint
from curvetune.config.method import MetaSetConfig, MethodConfig, NoiseRateConfig
from curvetune.config.methods.features import (
    CleanNetConfig,
    MetaCleanerConfig,
    RoLTDRWConfig,
    SelfLearningConfig,
)
from curvetune.config.methods.hybrid import DistillConfig
from curvetune.config.methods.losses import (
    BootstrappingConfig,
    ClassBalancedConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMDRWConfig,
)
from curvetune.config.methods.pretrained import GLCConfig, HARConfig, LCCNConfig, SAdaptationConfig
from curvetune.config.methods.reweighting import (
    CMWNetConfig,
    CurveNetConfig,
    FaMUSConfig,
    L2RWConfig,
    MWNetImbConfig,
    MWNetNoiseConfig,
    WeightNetConfig,
)
from curvetune.config.methods.robust import (
    BalancedSoftmaxConfig,
    ELRConfig,
    GCEConfig,
    LogitAdjustmentConfig,
    SCEConfig,
)
from curvetune.config.methods.selection import (
    CoTeachingConfig,
    MentorNetConfig,
    O2UNetConfig,
)
from curvetune.config.methods.semi_supervised import DivideMixConfig, ELRPlusConfig
from curvetune.config.methods.successors import CRTConfig, DynamicLossConfig, SOPConfig
from curvetune.config.model import ModelConfig
from curvetune.config.plugins import PluginRef
from curvetune.config.training import (
    AllocateConfig,
    ProbeConfig,
    TrainingConfig,
)

# Bumped by hand when a change of the code moves the numbers of a stage.
SPLIT_VERSION = 1
PROBE_VERSION = 1
CELL_VERSION = 1

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
    | GCEConfig
    | SCEConfig
    | LogitAdjustmentConfig
    | BalancedSoftmaxConfig
    | ELRConfig
    | DivideMixConfig
    | ELRPlusConfig
    | DynamicLossConfig
    | SOPConfig
    | CRTConfig
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
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Of all that is random, the split's draws too.")
    ] = 0

    @model_validator(mode="after")
    def _the_curve_is_not_empty(self) -> Self:
        self.method.check_probe(self.probe)
        return self

    @model_validator(mode="after")
    def _a_difference_is_not_lost_in_rounding(self) -> Self:
        method, precision = self.method, self.model.precision
        # Not of `bfloat16`, which results of before may have.
        if (
            precision == "bfloat16-onednn"
            and isinstance(method, WeightNetConfig)
            and method.meta_gradient == "finite_difference"
        ):
            raise ValueError(
                f"method.meta_gradient=finite_difference is lost in the rounding of "
                f"model.precision={precision}; allowed with it is meta_gradient=exact, which takes "
                f"less time than a difference in float32"
            )
        return self

    @model_validator(mode="after")
    def _people_labelled_these_images(self) -> Self:
        allowed = HUMAN_KINDS.get(self.data.name, ())
        if self.bias.is_human and self.bias.noise not in allowed:
            of = {kind: name for name, kinds in HUMAN_KINDS.items() for kind in kinds}
            raise ValueError(
                f"bias.noise={self.bias.noise} is of data.name={of[self.bias.noise]}, got "
                f"data.name={self.data.name}; allowed of people's labels there: "
                f"{', '.join(allowed) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _the_method_gets_what_it_needs(self) -> Self:
        method = self.method
        if method.meta_set == "clean" and self.data.meta_per_class == 0:
            instead = f", or {method.without_clean_set}" if method.without_clean_set else ""
            raise ValueError(
                f"{method.name} needs a clean set and data.meta_per_class=0 sets none aside; "
                f"allowed is at least 1: --set meta_per_class=10{instead}"
            )
        clean = self.data.clean_per_class if method.meta_set == "clean" else 0
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
    def plugins(self) -> list[tuple[str, str, PluginRef]]:
        """What of the cell is of plugins: each kind, as in their registry, its name and plugin."""
        found = [
            ("methods", self.method.name, self.method.plugin),
            ("models", self.model.name, self.model.plugin),
            ("sources", self.data.name, self.data.plugin),
            ("transforms", self.data.transform or "", self.data.transform_plugin),
        ]
        return [(kind, name, ref) for kind, name, ref in found if ref is not None]

    @property
    def probe_recipe(self) -> TrainingConfig | None:
        """The recipe of the method's probe, None if it has none."""
        return self.method.probe_recipe(self.probe, self.allocate)

    @property
    def final_recipe(self) -> AllocateConfig:
        """The recipe of the final training, which the method may have shortened."""
        return self.method.final_recipe(self.allocate)

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
            **self.data.transform_identity(),
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
            **self.data.transform_identity(),
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


def restored(stored: Any) -> Any:
    """Return a cell's config out of a storage, with what the version that wrote it left unsaid."""
    if not (isinstance(stored, dict) and isinstance(stored.get("probe"), dict)):
        return stored  # no config of a cell; whoever reads it says so
    return {**stored, "probe": ProbeConfig.earlier | stored["probe"]}


def add_method(section: type[MethodConfig], *, replace: bool = False) -> None:
    """Let cells of this process have a method that is not of this package.

    `section` becomes a row of `METHOD_SECTIONS`, and one more choice of `CellConfig.method`. Its
    builder is registered by `curvetune.plugins.method`, which calls this.

    Args:
        replace: whether it takes the place of a section of that name.

    Raises:
        ValueError: another method has that name.
    """
    name: str = section.model_fields["name"].default
    if not replace and METHOD_SECTIONS.get(name, section) is not section:
        raise ValueError(f"there is a method {name!r} already; give the new one another name")
    METHOD_SECTIONS[name] = section
    _rebuild()


def remove_method(name: str) -> None:
    """Take back what `add_method` added."""
    METHOD_SECTIONS.pop(name, None)
    _rebuild()


def _rebuild() -> None:
    """Let `CellConfig.method` be any of the sections that there are now."""
    CellConfig.model_fields["method"].annotation = reduce(or_, METHOD_SECTIONS.values())
    CellConfig.model_rebuild(force=True)
