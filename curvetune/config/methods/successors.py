"""Methods that came after the paper: its successor, and two that its tables lack."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from curvetune.config.method import (
    MetaSetConfig,
    MetaSource,
    MethodConfig,
    PretrainedConfig,
    VirtualStep,
)
from curvetune.config.training import AllocateConfig
from curvetune.config.tunable import Choice, Ranges


class DynamicLossConfig(MetaSetConfig):
    """Dynamic Loss: learned shares of the given label, and a learned margin for each class."""

    source = "Jiang et al., TPAMI 2023"
    cost: ClassVar[str] = "3.5"  # a step of 3.2, and 0.3 for ranking the losses at every epoch
    native = AllocateConfig(
        epochs=325, batch_size=512, warmup=5, milestones=(), schedule="cosine", nesterov=False
    )

    name: Literal["dynamic-loss"] = "dynamic-loss"
    meta: Annotated[
        Literal["hierarchical", "clean"],
        Field(description="hierarchical: training samples of low loss, drawn at every epoch."),
    ] = "hierarchical"
    drawn_share: Annotated[
        float, Field(gt=0, le=1, description="Of the rarest class: drawn of each; hierarchical.")
    ] = 0.5
    low_loss_share: Annotated[
        float, Field(gt=0, le=1, description="Of the drawn ones: kept, those of the lowest loss.")
    ] = 0.5
    warm_epochs: Annotated[
        int, Field(ge=0, description="First epochs, of cross entropy on the given labels.")
    ] = 5
    ranks: Annotated[
        int, Field(ge=1, description="Steps that the losses of a class are ranked in.")
    ] = 100
    hidden: Annotated[int, Field(ge=1, description="Width of embeddings and hidden layers.")] = 64
    dynamic_lr: Annotated[float, Field(gt=0, description="Adam on corrector and margins.")] = 3e-3
    virtual_step: VirtualStep = "optimizer"

    @property
    def meta_set(self) -> MetaSource | None:
        """The clean set if it is asked for; else the method draws its own."""
        return "clean" if self.meta == "clean" else None

    @property
    def without_clean_set(self) -> str:
        """Samples of low loss."""
        return "method.meta=hierarchical"

    def slow_epochs(self, allocate: AllocateConfig) -> int:
        """Return all of them: the few that only warm up are not told apart."""
        return allocate.epochs

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return it with as large a share of the epochs to warm up."""
        return self.model_copy(update={"warm_epochs": round(self.warm_epochs * after / before)})

    def for_two_epochs(self, each: int) -> Self:
        """Return it without epochs to warm up."""
        return self.model_copy(update={"warm_epochs": 0})


class SOPConfig(MethodConfig):
    """SOP: every sample has variables of its own, which take up what is wrong with its label."""

    source = "Liu et al., ICML 2022"
    # Of the repository's only config, for CIFAR-100 with its extras.
    native = AllocateConfig(
        epochs=300,
        lr=0.02,
        warmup=0,
        milestones=(),
        schedule="cosine",
        nesterov=False,
        weight_decay=1e-3,
    )

    tunable: ClassVar[Ranges] = {
        "given_lr": Choice((1.0, 10.0), "the released command for CIFAR-100, and ten times that"),
        "other_lr": Choice(
            (10.0, 100.0), "the released commands for CIFAR-100: symmetric, asymmetric"
        ),
    }

    name: Literal["sop"] = "sop"
    given_lr: Annotated[
        float, Field(ge=0, description="SGD on the variable of the given label, u (lr_u).")
    ] = 1.0
    other_lr: Annotated[
        float, Field(ge=0, description="SGD on those of the other labels, v (lr_v).")
    ] = 10.0
    variable_std: Annotated[
        float, Field(gt=0, description="Standard deviation of their first values.")
    ] = 1e-8


class CRTConfig(PretrainedConfig):
    """cRT: the last layer is trained anew, on balanced classes, behind features that stay."""

    source = "Kang et al., ICLR 2020"
    cost: ClassVar[str] = "0.3"  # of an epoch: a forward pass without a graph
    # ImageNet-LT's; the code has no CIFAR.
    native = AllocateConfig(
        epochs=90,
        batch_size=512,
        lr=0.2,
        warmup=0,
        milestones=(),
        schedule="cosine",
        nesterov=False,
    )

    name: Literal["crt"] = "crt"
    retrain_epochs: Annotated[
        int, Field(ge=1, description="Epochs of the last layer's training, after the features'.")
    ] = 10

    def final_recipe(self, allocate: AllocateConfig) -> AllocateConfig:
        """Return the last layer's: fewer epochs, on a cosine from the features' learning rate."""
        update = {
            "epochs": self.retrain_epochs,
            "warmup": 0,
            "milestones": (),
            "schedule": "cosine",
        }
        return allocate.model_copy(update=update)

    def slow_epochs(self, allocate: AllocateConfig) -> int:
        """Return all of them."""
        return allocate.epochs

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return it with fewer epochs for the last layer."""
        return self.model_copy(update={"retrain_epochs": max(1, shorter(self.retrain_epochs))})

    def for_two_epochs(self, each: int) -> Self:
        """Return it with so many epochs for the last layer."""
        return self.model_copy(update={"retrain_epochs": 2 * each})
