"""Methods with a loss that wrong labels move less, or that knows how frequent classes are."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.method import MethodConfig
from curvetune.config.training import AllocateConfig
from curvetune.config.tunable import Choice, LogUniform, Ranges, Uniform


class GCEConfig(MethodConfig):
    """Generalized cross entropy: between cross entropy and the mean absolute error."""

    source = "Zhang and Sabuncu, NeurIPS 2018 (repository AlanChou/Truncated-Loss)"
    native = AllocateConfig(
        epochs=120, lr=0.01, milestones=(40, 80), warmup=0, nesterov=False, weight_decay=1e-4
    )
    native_options: ClassVar[dict[str, Any]] = {"truncated": True}

    tunable: ClassVar[Ranges] = {
        "loss_power": Uniform(0.1, 1.0, "q is from 0, cross entropy, to 1, the absolute error"),
    }

    name: Literal["gce"] = "gce"
    loss_power: Annotated[
        float, Field(gt=0, le=1, description="Power of q_y, q; 1 is the absolute error.")
    ] = 0.7
    truncated: Annotated[
        bool, Field(description="Prune samples whose given label is unlikely, now and then.")
    ] = False
    keep_above: Annotated[
        float, Field(gt=0, lt=1, description="Least q_y of a sample that is kept, k; truncated.")
    ] = 0.5
    prune_start: Annotated[
        float,
        Field(
            ge=0,
            description="First pruning, as a share of the epochs before the first drop; none if "
            "that is beyond the last.",
        ),
    ] = 1.0  # published: epoch 40 of drops at 40 and 80, and 80 of drops at 80 and 120
    prune_every: Annotated[int, Field(ge=1, description="Epochs between two prunings.")] = 10

    def shortened(self, before: int, after: int, shorter: Callable[[int], int]) -> Self:
        """Return it with prunings that are as many as before, if there are any."""
        if not self.truncated:
            return self
        every = min(self.prune_every, max(1, shorter(self.prune_every)))
        return self.model_copy(update={"prune_every": every})


class SCEConfig(MethodConfig):
    """Symmetric cross entropy: cross entropy, and the same with label and output exchanged."""

    source = (
        "Wang et al., ICCV 2019 (repository YisenWang/symmetric_cross_entropy_for_noisy_labels)"
    )
    native = AllocateConfig(epochs=120, lr=0.01, milestones=(40, 80), warmup=0, weight_decay=5e-3)
    # That repository clips labels at 1e-4, and its logarithm is the natural one.
    native_options: ClassVar[dict[str, Any]] = {"log_zero": -9.210340371976182}

    tunable: ClassVar[Ranges] = {
        "forward_share": LogUniform(0.05, 10.0, "has those of CIFAR-10, 0.1, and CIFAR-100, 6"),
        "reverse_share": LogUniform(0.05, 10.0, "has those of CIFAR-10, 1, and CIFAR-100, 0.1"),
    }

    name: Literal["sce"] = "sce"
    forward_share: Annotated[
        float, Field(ge=0, description="Factor of cross entropy, alpha; CIFAR-100: 6.")
    ] = 0.1
    reverse_share: Annotated[
        float, Field(ge=0, description="Factor of the reverse one, beta; CIFAR-100: 0.1.")
    ] = 1.0
    log_zero: Annotated[
        float, Field(lt=0, description="What stands for log 0 in the reverse one, A.")
    ] = -4.0

    @model_validator(mode="after")
    def _something_is_minimised(self) -> Self:
        if self.forward_share == self.reverse_share == 0:
            raise ValueError(
                "forward_share=0 and reverse_share=0 leave no loss; allowed is at least one above "
                "0: the published ones are 0.1 and 1, and 6 and 0.1 for CIFAR-100"
            )
        return self


class LogitAdjustmentConfig(MethodConfig):
    """Logit adjustment: logits are shifted by how frequent each class is."""

    source = (
        "Menon et al., ICLR 2021 (repository google-research/google-research, logit_adjustment)"
    )
    # Its steps as epochs of CIFAR-10-LT; Keras's l2(1e-4) adds 1e-4 w² and so decays by 2e-4.
    native = AllocateConfig(epochs=1241, milestones=(604, 926, 1128), warmup=20, weight_decay=2e-4)

    tunable: ClassVar[Ranges] = {
        "tau": Uniform(0.0, 3.0, "around 1, the released --tau"),
    }

    name: Literal["logit-adjustment"] = "logit-adjustment"
    mode: Annotated[
        Literal["loss", "post-hoc"],
        Field(description="loss: train on shifted logits; post-hoc: shift cross entropy's."),
    ] = "loss"
    tau: Annotated[float, Field(ge=0, description="Factor of the log frequencies.")] = 1.0


class BalancedSoftmaxConfig(MethodConfig):
    """Balanced softmax: each class counts in the softmax as often as it has samples."""

    source = "Ren et al., NeurIPS 2020 (repository jiawei-ren/BalancedMetaSoftmax-Classification)"
    # 13,000 steps of 512 images, 800 of them warm-up, as epochs of CIFAR-10 at imbalance 200.
    native = AllocateConfig(
        epochs=591, batch_size=512, milestones=(), schedule="cosine", warmup=37, nesterov=False
    )

    name: Literal["balanced-softmax"] = "balanced-softmax"


class ELRConfig(MethodConfig):
    """Early-learning regularization: outputs are held at what they were before memorisation."""

    source = "Liu et al., NeurIPS 2020 (repository shengliu66/ELR)"
    native = AllocateConfig(
        epochs=120,
        lr=0.02,
        milestones=(40, 80),
        gamma=0.01,
        warmup=0,
        nesterov=False,
        weight_decay=1e-3,
    )

    tunable: ClassVar[Ranges] = {
        "hold": Choice(
            (1.0, 3.0, 5.0, 7.0, 10.0), "around those released: 3 for CIFAR-10, 7 for 100"
        ),
        "target_momentum": Choice((0.5, 0.7, 0.9, 0.99), "the released README's three, and 0.5"),
    }

    name: Literal["elr"] = "elr"
    target_momentum: Annotated[
        float,
        Field(ge=0, lt=1, description="Of each sample's averaged outputs, beta; CIFAR-100: 0.9."),
    ] = 0.7
    hold: Annotated[
        float, Field(ge=0, description="Factor of the regularization, lambda; CIFAR-100: 7.")
    ] = 3.0
