"""What is done to the training set before anything is trained."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.base import Section
from curvetune.errors import ConfigError

NoiseKind = Literal[
    "symmetric",
    "uniform",
    "uniform_prop",
    "exact_prop",
    "flip",
    "flip2",
    "real",
    "human-aggre",
    "human-worse",
    "human-random1",
    "human-random2",
    "human-random3",
    "human-fine",
]
# Labels that people gave to the images of a source, beside the true ones: CIFAR-10N and -100N
HUMAN_KINDS: dict[str, tuple[str, ...]] = {
    "cifar10": ("human-aggre", "human-worse", "human-random1", "human-random2", "human-random3"),
    "cifar100": ("human-fine",),
}


HUMAN = frozenset(kind for kinds in HUMAN_KINDS.values() for kind in kinds)


class BiasConfig(Section):
    """What is done to the training set: class imbalance first, then label noise."""

    source: ClassVar[str] = "imbalance: Cui et al., CVPR 2019; kinds of noise: docs/reproduction.md"

    imbalance: Annotated[
        float, Field(ge=1, description="Size of the largest class over the smallest.")
    ] = 1.0
    noise: Annotated[
        NoiseKind,
        Field(description="Which wrong labels: bias/noise.py; real, human-…: given with the data."),
    ] = "uniform_prop"
    noise_rate: Annotated[
        float, Field(ge=0, lt=1, description="Probability p of the noise kind.")
    ] = 0.0
    labels_digest: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{16}$",
            exclude_if=lambda value: value is None,
            description="Of the labels that people gave; found where the grid is planned.",
        ),
    ] = None

    @model_validator(mode="after")
    def _given_noise_is_not_added(self) -> Self:
        if (self.noise == "real" or self.is_human) and self.noise_rate:
            raise ValueError(
                f"noise={self.noise} adds no wrong label to those that the data has, so noise_rate="
                f"{self.noise_rate:g} means nothing; leave it at 0"
            )
        if self.labels_digest is not None and not self.is_human:
            raise ValueError(
                f"labels_digest={self.labels_digest}: noise={self.noise} reads no labels; allowed "
                f"is a digest with noise={', '.join(sorted(HUMAN))}; leave it out"
            )
        return self

    @property
    def is_human(self) -> bool:
        """Whether people gave the labels, and the true ones are known beside them."""
        return self.noise in HUMAN

    @property
    def truth_is_known(self) -> bool:
        """Whether it is known which given labels are wrong: not of the data's only labels."""
        return self.noise != "real"

    @property
    def adds_noise(self) -> bool:
        """Whether given labels differ from the data's own, so that its own are the truth."""
        return self.is_human or (self.truth_is_known and self.noise_rate > 0)

    def identity(self) -> dict[str, Any]:
        """Return what decides the biased set: without noise, its kind decides nothing.

        Raises:
            ConfigError: nobody has looked for the labels that people gave.
        """
        if not self.is_human:
            return self.model_dump() | ({"noise": None} if self.noise_rate == 0 else {})
        if self.labels_digest is None:
            raise ConfigError(
                f"bias.noise={self.noise}: the file with these labels was not read, so nothing "
                f"can be looked up; `curvetune plan` reads it from --data-dir"
            )
        return self.model_dump()
