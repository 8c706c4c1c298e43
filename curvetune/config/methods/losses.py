"""Methods that only change the loss of a sample."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.method import MethodConfig
from curvetune.config.training import AllocateConfig
from curvetune.config.tunable import Choice, Ranges

# On long-tailed CIFAR, richardaecn/class-balanced-loss and kaidic/LDAM-DRW have the same recipe.
_LONG_TAIL_RECIPE = AllocateConfig(
    milestones=(160, 180), gamma=0.01, nesterov=False, weight_decay=2e-4
)

FocalGamma = Annotated[
    float, Field(ge=0, description="Power of 1 - p, γ; 0 is the loss without it.")
]


class CrossEntropyConfig(MethodConfig):
    """Cross entropy on the given labels: the baseline."""

    source = "Jiang et al., AAAI 2022, Eq. 1"
    native = AllocateConfig(warmup=0)

    name: Literal["cross-entropy"] = "cross-entropy"


class ClassBalancedConfig(MethodConfig):
    """Class-balanced loss: a class weighs the inverse of its effective number of samples."""

    source = "Cui et al., CVPR 2019 (repository richardaecn/class-balanced-loss)"
    native = _LONG_TAIL_RECIPE

    tunable: ClassVar[Ranges] = {
        "base": Choice(("softmax", "sigmoid", "focal"), "the three losses of the released scripts"),
        "beta": Choice((0.9, 0.99, 0.999, 0.9999), "the values that the source searched"),
    }

    name: Literal["class-balanced"] = "class-balanced"
    base: Annotated[
        Literal["softmax", "sigmoid", "focal"],
        Field(description="The loss that is weighed; sigmoid, focal: one class against the rest."),
    ] = "softmax"
    beta: Annotated[
        float, Field(ge=0, lt=1, description="Of the effective number; 0: all weigh the same.")
    ] = 0.9999
    focal_gamma: FocalGamma = 1.0  # the released scripts'; the paper tries 0.5, 1 and 2


class FocalConfig(MethodConfig):
    """Focal loss: samples that the classifier gets right count less."""

    source = "Lin et al., ICCV 2017"
    native = _LONG_TAIL_RECIPE
    native_options: ClassVar[dict[str, Any]] = {"focal_gamma": 1.0}  # LDAM-DRW's baseline

    tunable: ClassVar[Ranges] = {
        "focal_gamma": Choice((0.1, 0.2, 0.5, 1.0, 2.0, 5.0), "around the published 2"),
    }

    name: Literal["focal"] = "focal"
    focal_form: Annotated[
        Literal["softmax", "sigmoid"],
        Field(description="sigmoid: one class against the rest, as published for detection."),
    ] = "softmax"
    focal_gamma: FocalGamma = 2.0
    focal_alpha: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Weight of the given class; 1 - α of each other; sigmoid."),
    ] = None

    @model_validator(mode="after")
    def _alpha_balances_something(self) -> Self:
        if self.focal_alpha is not None and self.focal_form == "softmax":
            raise ValueError(
                f"focal_alpha={self.focal_alpha:g} balances one class against the rest, which "
                f"focal_form=softmax does not have; set focal_form=sigmoid, or leave alpha out"
            )
        return self


class LDAMDRWConfig(MethodConfig):
    """LDAM-DRW: wider margins for rare classes, then deferred re-weighting by class."""

    source = "Cao et al., NeurIPS 2019 (repository kaidic/LDAM-DRW)"
    native = _LONG_TAIL_RECIPE  # its first drop, epoch 160, is the published start of DRW

    name: Literal["ldam-drw"] = "ldam-drw"
    max_margin: Annotated[float, Field(ge=0, description="Margin of the rarest class.")] = 0.5
    logit_scale: Annotated[
        float, Field(gt=0, description="Factor of the cosines in the loss, s.")
    ] = 30.0
    drw: Annotated[
        bool, Field(description="Deferred re-weighting by class after the first drop.")
    ] = True
    drw_beta: Annotated[
        float, Field(ge=0, lt=1, description="Of the effective number that it weighs by.")
    ] = 0.9999

    @property
    def cosine_scale(self) -> float | None:
        """The factor of the cosines, s."""
        return self.logit_scale


class BootstrappingConfig(MethodConfig):
    """Bootstrapping: the label is mixed with what the classifier itself says."""

    source = "Reed et al., ICLR 2015 workshop"
    published_beta: ClassVar[dict[str, float]] = {"soft": 0.95, "hard": 0.8}

    name: Literal["bootstrapping"] = "bootstrapping"
    bootstrap: Annotated[
        Literal["soft", "hard"],
        Field(description="What is mixed in: all probabilities, or the most probable class."),
    ] = "soft"
    bootstrap_beta: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of the given label; published: 0.95 if soft, 0.8 if hard.",
        ),
    ] = None
    detach: Annotated[
        bool,
        Field(description="No gradient through the mixed-in probabilities; soft, not published."),
    ] = False

    @model_validator(mode="after")
    def _something_is_detached(self) -> Self:
        if self.detach and self.bootstrap == "hard":
            raise ValueError(
                "detach=True changes nothing with bootstrap=hard, whose most probable class has no "
                "gradient; set bootstrap=soft, or leave detach out"
            )
        return self

    @property
    def given_share(self) -> float:
        """The share of the given label: as set, else as published."""
        published = self.published_beta[self.bootstrap]
        return published if self.bootstrap_beta is None else self.bootstrap_beta
