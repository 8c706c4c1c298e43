"""Methods that judge a label by where its sample lies among the features."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from curvetune.config.method import MetaSetConfig, MethodConfig
from curvetune.config.training import AllocateConfig


class CleanNetConfig(MetaSetConfig):
    """CleanNet: weight = similarity of a sample to references of its class, learned from flags."""

    source = "Lee et al., CVPR 2018 (repository kuanghuei/clean-net)"
    cost = "1.05"  # a pass over the data and 2,000 steps of a small net in each round

    name: Literal["cleannet"] = "cleannet"
    meta_batch_size: Annotated[
        int, Field(ge=1, description="Clean images, and as many others, in a step of CleanNet.")
    ] = 32
    rounds: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], ...],
        Field(min_length=1, description="Shares of the epochs after which weights are renewed."),
    ] = (0.2, 0.4)
    cleannet_steps: Annotated[int, Field(ge=1, description="Steps of CleanNet in a round.")] = 2000
    cleannet_lr: Annotated[
        float, Field(gt=0, description="SGD on CleanNet; a tenth in the second half of a round.")
    ] = 0.01
    references: Annotated[int, Field(ge=1, description="Reference features of each class.")] = 32
    query_width: Annotated[
        int, Field(ge=1, description="First layer of the query encoder; the class's has twice it.")
    ] = 256
    code_width: Annotated[int, Field(ge=1, description="Of the two codes that are compared.")] = 128
    negative_weight: Annotated[
        float, Field(ge=0, description="Weight of wrong labels in CleanNet's loss, omega.")
    ] = 5.0
    reconstruction: Annotated[float, Field(ge=0, description="Weight of the decoder's loss.")] = 0.1
    unsupervised: Annotated[
        float, Field(ge=0, description="Weight of the loss of unverified samples.")
    ] = 0.1
    weighting: Annotated[
        Literal["soft", "hard"], Field(description="soft: max(0, s); hard: [s >= threshold].")
    ] = "soft"
    similarity_threshold: Annotated[
        float, Field(ge=-1, le=1, description="Of hard: s is the cosine of sample and class.")
    ] = 0.1

    def slow_epochs(self, allocate: AllocateConfig) -> int:
        """Return the number of rounds: an epoch takes long if it begins with one."""
        return min(len(self.rounds), allocate.epochs)

    def for_two_epochs(self, each: int) -> Self:
        """Return it with one round, at the second epoch."""
        return self.model_copy(update={"rounds": (1 / (2 * each),)})

    @field_validator("rounds")
    @classmethod
    def _rounds_rise(cls, rounds: tuple[float, ...]) -> tuple[float, ...]:
        if list(rounds) != sorted(set(rounds)):
            raise ValueError(f"rounds must rise, got {list(rounds)}")
        return rounds


class MetaCleanerConfig(MethodConfig):
    """MetaCleaner: classify the confidence-weighted mean feature of a few samples of a class."""

    source = "Zhang, Wang and Qiao, CVPR 2019 (no public code)"
    cost = "1.05"  # grouping and one small layer

    name: Literal["metacleaner"] = "metacleaner"
    group_size: Annotated[
        int, Field(ge=1, description="Samples of one class in a group; the paper's is not known.")
    ] = 5
    score: Annotated[
        Literal["sigmoid", "softplus"],
        Field(description="What makes confidences positive; the paper's is not known."),
    ] = "sigmoid"


class SelfLearningConfig(MethodConfig):
    """Self-learning with multi-prototypes (SMP): labels corrected by prototypes of each class."""

    source = "Han, Luo and Wang, ICCV 2019, Eq. 1 to 7"
    cost = "1.3"  # a pass without gradients, a third of a step's, in 180 of 200 epochs

    name: Literal["self-learning"] = "self-learning"
    corrected_share: Annotated[
        float, Field(ge=0, le=1, description="Share of the corrected label in the loss, alpha.")
    ] = 0.5
    correct_start: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the epochs before the first drop without it."),
    ] = 0.25
    drawn_per_class: Annotated[
        int, Field(ge=1, description="Samples of a class among which prototypes are sought.")
    ] = 1280
    prototypes: Annotated[int, Field(ge=1, description="Of each class, at most.")] = 8
    density_rank: Annotated[
        float, Field(gt=0, lt=1, description="Share of similarities that count as close.")
    ] = 0.4
    distinct_below: Annotated[
        float, Field(description="A prototype's similarity to denser samples is below this.")
    ] = 0.95


class RoLTDRWConfig(MethodConfig):
    """RoLT-DRW: soft labels for samples far from their class prototype, then deferred weights."""

    source = "Wei et al., arXiv 2108.11569 (repository Stomach-ache/RoLT)"
    cost = "1.3"  # a pass without gradients, a third of a step's, in 170 of 200 epochs
    native = AllocateConfig(milestones=(160, 180), gamma=0.01, nesterov=False, weight_decay=2e-4)

    name: Literal["rolt-drw"] = "rolt-drw"
    clean_start: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the epochs before the first drop on given labels."),
    ] = 0.5
    drw: Annotated[
        bool, Field(description="Deferred re-weighting by class after the first drop.")
    ] = True
    drw_beta: Annotated[
        float, Field(ge=0, lt=1, description="Of the effective number that it weighs by.")
    ] = 0.9999
