"""What is done to the training set before anything is trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.base import Section

NoiseKind = Literal["symmetric", "uniform", "uniform_prop", "exact_prop", "flip", "flip2", "real"]


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

    @property
    def adds_noise(self) -> bool:
        """Whether wrong labels are added, so that the data's own labels are the truth."""
        return self.truth_is_known and self.noise_rate > 0

    def identity(self) -> dict[str, Any]:
        """Return what decides the biased set: without noise, its kind decides nothing."""
        return self.model_dump() | ({"noise": None} if self.noise_rate == 0 else {})
