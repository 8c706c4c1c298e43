"""What every method's section states about it, and the options that several methods share."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from curvetune.sections.base import Section
from curvetune.sections.training import AllocateConfig, ProbeConfig, TrainingConfig

MetaSource = Literal["clean", "low_loss"]


class MethodConfig(Section):
    """Facts about a method, and the one option that all have."""

    source: ClassVar[str]
    cost: ClassVar[str] = "1"  # training time relative to cross entropy, the probe apart
    needs_noise_rate: ClassVar[bool] = False
    # The recipe of `source` and its repository, and options of the method that go with it.
    native: ClassVar[AllocateConfig | None] = None
    native_options: ClassVar[dict[str, Any]] = {}

    recipe: Annotated[
        Literal["default", "native"],
        Field(description="native: the published training recipe replaces `allocate`."),
    ] = "default"

    @property
    def meta_set(self) -> MetaSource | None:
        """Where the method's meta batches come from; None if it takes none."""
        return None

    @property
    def needs_probe(self) -> bool:
        """Whether a probe runs before the method."""
        return self.probe_recipe(ProbeConfig(), AllocateConfig()) is not None

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the recipe of the method's probe, None if it has none.

        The cell's own, `probe`, for a method that reads loss curves; the final training's,
        `allocate`, for one that starts from a classifier trained with cross entropy.
        """
        return None

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers; `recipe` is in the cell's `allocate` already."""
        return {key: value for key, value in super().identity().items() if key != "recipe"}


class MetaSetConfig(MethodConfig):
    """A method that takes a batch of the clean set at every step."""

    later: ClassVar[frozenset[str]] = frozenset({"meta_images"})

    meta_batch_size: Annotated[int, Field(ge=1)] = 128
    # The rest of the meta set is left unused, not trained on: so all sizes have the same training
    # set, and share a probe.
    meta_images: Annotated[
        int | None, Field(ge=1, description="Clean images of each class that are used; else all.")
    ] = None

    @property
    def meta_set(self) -> MetaSource | None:
        """The clean set."""
        return "clean"


class NoiseRateConfig(MethodConfig):
    """A method that is told what share of the labels is wrong."""

    needs_noise_rate: ClassVar[bool] = True

    noise_rate_estimate: Annotated[
        Literal["given", "auto"] | Annotated[float, Field(ge=0, lt=1)],
        Field(
            description="given: bias.noise_rate; auto: estimated from a probe's loss curves; or "
            "the rate itself."
        ),
    ] = "given"

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the cell's probe where the rate is estimated from its curves."""
        return probe if self.noise_rate_estimate == "auto" else None


class PretrainedConfig(MethodConfig):
    """A method that starts from a classifier trained with cross entropy on the given labels.

    That training is a probe with the recipe of the final one: stored, and shared by all methods
    that need it.
    """

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the recipe of the final training."""
        return allocate
