"""Methods with two networks and mixed images, which do without part of the labels."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from curvetune.config.method import MethodConfig
from curvetune.config.training import AllocateConfig
from curvetune.config.tunable import Choice, Ranges

MixupAlpha = Annotated[
    float, Field(gt=0, description="Of the Beta distribution that mixing shares are drawn from.")
]


class DivideMixConfig(MethodConfig):
    """DivideMix: labels that one network finds likely wrong are guessed anew for the other."""

    source = "Li, Socher and Hoi, ICLR 2020 (repository LiJunnan1992/DivideMix)"
    # Of each network, in passes, of which a step of cross entropy has 3: both views in training
    # mode, 2; in eval mode, 2; the mixed ones there and back, 6; the look between epochs, 1. Both
    # together come to 7.3; the measured step has 7.7 and the look up to 1.
    cost = "8"
    networks = 2
    native = AllocateConfig(
        epochs=300, batch_size=64, lr=0.02, milestones=(150,), warmup=0, nesterov=False
    )
    native_options: ClassVar[dict[str, Any]] = {"divide_start": 10 / 150, "ramp_share": 16 / 150}

    tunable: ClassVar[Ranges] = {
        "guessed_weight": Choice(
            (0.0, 25.0, 50.0, 150.0), "the values that the source chose from by validation"
        ),
        "clean_threshold": Choice((0.5, 0.6), "the released --p_threshold, and a stricter one"),
    }

    name: Literal["dividemix"] = "dividemix"
    # Published: 10 epochs of 150 for CIFAR-10. A class that is not learned by then is guessed away.
    divide_start: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of the epochs before the first drop on given labels, at least one.",
        ),
    ] = 0.25
    confidence_penalty: Annotated[
        bool, Field(description="Penalise sure predictions in them; for asymmetric noise.")
    ] = False
    clean_threshold: Annotated[
        float, Field(ge=0, lt=1, description="A label likelier right than this is kept.")
    ] = 0.5
    guess_temperature: Annotated[
        float, Field(gt=0, description="Below 1, guessed labels are sharper than predictions.")
    ] = 0.5
    mixup_alpha: MixupAlpha = 4.0
    guessed_weight: Annotated[
        float, Field(ge=0, description="Of samples with guessed labels in the loss, lambda_u.")
    ] = 25.0
    ramp_share: Annotated[  # 16 epochs
        float,
        Field(
            ge=0, le=1, description="Share of the epochs before the first drop in which it grows."
        ),
    ] = 0.2

    def for_two_epochs(self, each: int) -> Self:
        """Return it with labels divided from the second epoch on: nearly all epochs do."""
        return self.model_copy(update={"divide_start": 1 / (2 * each)})


class ELRPlusConfig(MethodConfig):
    """ELR+: early predictions of the other network's average keep a network from wrong labels."""

    source = "Liu et al., NeurIPS 2020 (repository shengliu66/ELR)"
    cost = "2.8"  # measured; of two networks, a step and a pass of the average: 2.7 in passes
    networks = 2
    native = AllocateConfig(lr=0.02, milestones=(150,), warmup=0, nesterov=False)

    tunable: ClassVar[Ranges] = {
        "elr_weight": Choice((1.0, 3.0, 5.0, 7.0, 10.0), "around those released, such as 1 and 7"),
        "target_momentum": Choice((0.5, 0.7, 0.9, 0.99), "the released README's three, and 0.5"),
    }

    name: Literal["elr-plus"] = "elr-plus"
    elr_weight: Annotated[
        float, Field(ge=0, description="Of the regularisation, lambda; 1 if asymmetric, 7 if 100.")
    ] = 3.0
    target_momentum: Annotated[
        float, Field(ge=0, lt=1, description="Of the targets' moving average, beta.")
    ] = 0.7
    ramp_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of the epochs before the first drop in which lambda grows; 0: none.",
        ),
    ] = 0.0
    mixup_alpha: MixupAlpha = 1.0
    average_decay: Annotated[
        float, Field(ge=0, lt=1, description="Of the average of each network's weights.")
    ] = 0.997
    average_ramp: Annotated[  # 40,000 steps of 128 are 102 epochs of CIFAR, of 150
        float,
        Field(
            ge=0, le=1, description="Share of the epochs before the first drop until it is reached."
        ),
    ] = 0.68
