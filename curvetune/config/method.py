"""What every method's section states about it, and the options that several methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.base import Section
from curvetune.config.plugins import PLUGINS, OptionalRef
from curvetune.config.training import AllocateConfig, ProbeConfig, TrainingConfig
from curvetune.config.tunable import Ranges

MetaSource = Literal["clean", "low_loss"]
VirtualStep = Annotated[
    Literal["sgd", "optimizer"],
    Field(
        description="The step whose meta gradient is taken: plain SGD; or the optimizer's own, "
        "with momentum and weight decay."
    ),
]


@dataclass(frozen=True)
class LowLoss:
    """Samples of the lowest probe loss, which stand in for a clean set."""

    removed: int  # first losses that are left out, S
    drop_last: bool  # whether the last one is left out too
    per_class: int


class MethodConfig(Section):
    """Facts about a method, and the one option that all have.

    What other parts of curvetune need to know of a single method is a member here that it
    overrides: nobody else asks which method it is.
    """

    source: ClassVar[str]
    cost: ClassVar[str] = "1"  # training time relative to cross entropy, the probe apart
    needs_noise_rate: ClassVar[bool] = False
    networks: ClassVar[int] = 1  # whose mean is the classifier that is tested and stored
    # The recipe of `source` and its repository, and options of the method that go with it.
    native: ClassVar[AllocateConfig | None] = None
    native_options: ClassVar[dict[str, Any]] = {}
    # What `tune` searches, with the default of each option in its range; none: it runs as it is.
    tunable: ClassVar[Ranges] = {}

    recipe: Annotated[
        Literal["default", "native"],
        Field(description="native: the published training recipe replaces `allocate`."),
    ] = "default"
    plugin: OptionalRef = None  # that the method is of

    @model_validator(mode="before")
    @classmethod
    def _it_may_be_of_a_plugin(cls, values: Any) -> Any:
        name = cls.model_fields["name"].default if "name" in cls.model_fields else None
        found = PLUGINS.methods.get(name) if isinstance(name, str) else None
        if found is None or not isinstance(values, Mapping) or "plugin" in values:
            return values
        return {**values, "plugin": found.ref}

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

    def final_recipe(self, allocate: AllocateConfig) -> AllocateConfig:
        """Return the recipe of what follows the probe: the cell's `allocate`, or what it becomes.

        Another one for a method whose probe is most of its training.
        """
        return allocate

    @property
    def reads_margins(self) -> bool:
        """Whether the method reads the margins that its probe recorded."""
        return False

    @property
    def reads_by_row(self) -> bool:
        """Whether the method reads curves row by row and never writes to them.

        Those of a streamed set then stay in their file.
        """
        return False

    @property
    def low_loss(self) -> LowLoss | None:
        """What stands in for a clean set where `meta_set` is low_loss."""
        return None

    @property
    def without_clean_set(self) -> str:
        """The option with which it needs no clean set; empty if there is none."""
        return ""

    @property
    def frozen_stages(self) -> int:
        """Stages of the classifier that the meta gradient does not go through, SL."""
        return 0

    @property
    def cosine_scale(self) -> float | None:
        """What the logits are times, if the classifier ends in cosines; None if it does not."""
        return None

    def check_probe(self, probe: ProbeConfig) -> None:
        """Refuse a probe that the method cannot read.

        Raises:
            ValueError: it has too few epochs.
        """

    def slow_epochs(self, allocate: AllocateConfig) -> int:
        """Return how many epochs of the final training take as long as its first one."""
        return allocate.first_drop

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return the section for shorter schedules: the `smoke` and `fast` profiles.

        Args:
            before: epochs of the cell's probe, which now has `after`.
            shorter: says how many epochs are left of so many.
        """
        return self

    def for_two_epochs(self, each: int) -> Self:
        """Return the section for a cell of 2 × `each` epochs: `plan --calibrate`."""
        return self

    def with_cyclic_batch(self, size: int) -> Self:
        """Return the section with this batch size in the cyclic phase of a probe of its own."""
        return self

    def as_fast(self, before: int, after: int) -> Self:
        """Return the section with cheaper steps: the `fast` profile.

        Args:
            before: epochs that the section is for of the cell's probe, which now has `after`.
        """
        return self

    def as_in_paper(self) -> Self:
        """Return the section as the paper's text has it: the `paper` profile."""
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers; `recipe` is in the cell's `allocate` already."""
        return {key: value for key, value in super().identity().items() if key != "recipe"}


class MetaSetConfig(MethodConfig):
    """A method that takes a batch of the clean set at every step."""

    later: ClassVar[frozenset[str]] = frozenset({"meta_images"})

    meta_batch_size: Annotated[int, Field(ge=1, description="Clean images of a step.")] = 128
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
            description="given: bias.noise_rate, or the true share of people's labels; auto: "
            "estimated from a probe's loss curves; or the rate itself."
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
