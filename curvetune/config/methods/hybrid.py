"""Methods that join sample weights, guessed labels and mixed images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from curvetune.config.method import MetaSetConfig
from curvetune.config.training import AllocateConfig


class DistillConfig(MetaSetConfig):
    """Distill (IEG): a clean set decides, sample by sample, between the given and a guessed label.

    Its accuracy is that of averaged weights.
    """

    source = "Zhang et al., CVPR 2020 (repository google-research/google-research, ieg)"
    # In passes, of which a step of cross entropy has 3 (one forward, two's worth backward): 5B
    # images with both, 15; the look-ahead's backward, 2; the clean batch, 3; the tangents, 2.
    cost = "7.3"
    # 200,000 steps of 100 images; one half wave for their 13 restarts, each longer than the last.
    native = AllocateConfig(
        epochs=400,
        batch_size=100,
        warmup=0,
        milestones=(),
        schedule="cosine",
        nesterov=False,
    )
    native_options: ClassVar[dict[str, Any]] = {"meta_batch_size": 100, "ramp_share": 0.0}

    name: Literal["distill"] = "distill"
    lookahead_lr: Annotated[float, Field(gt=0, description="Size of the look-ahead step.")] = 0.1
    given_share: Annotated[
        float,
        Field(ge=0, le=1, description="Of the given label before the clean set decides, lambda 0."),
    ] = 0.9
    guess_temperature: Annotated[
        float, Field(gt=0, description="Below 1, guessed labels are sharper than predictions.")
    ] = 0.5
    mixup_beta: Annotated[float, Field(gt=0, description="Of the Beta distribution.")] = 0.5
    guessed_weight: Annotated[
        float, Field(ge=0, description="Of mixed images with guessed labels in the loss, p.")
    ] = 5.0
    consistency: Annotated[
        float, Field(ge=0, description="Weight of the KL divergence between two views, k.")
    ] = 20.0
    # Released: 0, at once. On digits all guesses then agree on one class for hundreds of steps.
    ramp_share: Annotated[
        float,
        Field(
            ge=0, le=1, description="Share of the epochs before the first drop in which p, k grow."
        ),
    ] = 0.25
    average_decay: Annotated[
        float, Field(ge=0, lt=1, description="Of the average of the classifier's weights.")
    ] = 0.999
