"""Methods that start from a pre-training stage: a classifier trained with cross entropy."""

from typing import Annotated, Literal

from pydantic import Field

from curvetune.config.method import MetaSetConfig, MethodConfig, PretrainedConfig
from curvetune.config.training import AllocateConfig, HalfConfig, ProbeConfig, TrainingConfig

# The recipe of LCCN's repository on CIFAR-10, for the pre-training too.
_LCCN_RECIPE = AllocateConfig(
    epochs=120, lr=0.5, milestones=(40, 80), gamma=(0.2, 0.1), warmup=0, nesterov=False
)


Confusion = Annotated[
    Literal["hard", "soft"],
    Field(description="First estimate: counts of the predicted class, or of probabilities."),
]
FixedShare = Annotated[
    float, Field(ge=0, le=1, description="Share of the epochs that keep the first estimate.")
]


class TransitionConfig(PretrainedConfig):
    """Options common to methods that model how a true label becomes the given one."""

    confusion: Confusion
    fixed_share: FixedShare
    start_from: Annotated[
        Literal["pretrained", "fresh"],
        Field(description="First weights of the classifier; pretrained: as released."),
    ] = "pretrained"


class SAdaptationConfig(TransitionConfig):
    """S-adaptation: a noise layer after the softmax, learned with the classifier."""

    source = "Goldberger and Ben-Reuven, ICLR 2017"
    native = _LCCN_RECIPE

    name: Literal["s-adaptation"] = "s-adaptation"
    form: Annotated[
        Literal["simple", "complex"],
        Field(description="complex: the layer depends on the features too."),
    ] = "simple"
    confusion: Confusion = "hard"
    # 32,000 of 46,875 steps in LCCN's repository; a share fits other N and schedules.
    fixed_share: FixedShare = 0.68


class LCCNConfig(TransitionConfig):
    """LCCN: true labels are sampled, and counts of them are the transition matrix."""

    source = "Yao et al., AAAI 2019"
    native = _LCCN_RECIPE

    name: Literal["lccn"] = "lccn"
    confusion: Confusion = "soft"
    fixed_share: FixedShare = 0.427  # 20,000 of 46,875 steps
    refresh_epochs: Annotated[
        float, Field(gt=0, description="Epochs from one matrix to the next; 200 of 391 steps.")
    ] = 0.5
    prior_count: Annotated[
        float, Field(gt=0, description="Dirichlet prior of a row: added to every count.")
    ] = 1.0


class GLCConfig(PretrainedConfig, MetaSetConfig):
    """GLC: the clean set shows how labels are corrupted, and is trained on too."""

    source = "Hendrycks et al., NeurIPS 2018"
    cost = "1.1"  # the clean set joins the batches: M/N = 0.02 to 0.1 on CIFAR
    native = AllocateConfig(epochs=75, warmup=0, milestones=(), schedule="cosine")

    name: Literal["glc"] = "glc"
    meta_batch_size: Annotated[
        int,
        Field(ge=1, description="Clean samples drawn for a step; it takes B·M/N of them."),
    ] = 32


class HARConfig(MethodConfig):
    """HAR: a penalty on the gradient at every layer, stronger for uncertain and rare classes."""

    source = "Cao et al., ICLR 2021"
    cost = "3.7"  # ResNet-32 on one CPU core; 40% of it is the double backward of batch norm
    native = AllocateConfig(epochs=120, warmup=0, nesterov=False, weight_decay=1e-4)

    name: Literal["har"] = "har"
    reg_weight: Annotated[float, Field(ge=0, description="Weight of the penalty, ρ.")] = 0.1
    drw: Annotated[
        bool, Field(description="Deferred re-weighting by class after the first drop.")
    ] = False
    drw_beta: Annotated[
        float, Field(ge=0, lt=1, description="Of the effective number that it weighs by.")
    ] = 0.9999

    def probe_recipe(self, probe: ProbeConfig, allocate: AllocateConfig) -> TrainingConfig | None:
        """Return the recipe of the final training, on a random half of the samples."""
        return HalfConfig(**allocate.model_dump())
