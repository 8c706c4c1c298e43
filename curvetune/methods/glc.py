"""GLC: a clean set shows how labels are corrupted; training corrects the loss by that.

Row i of Ĉ is what a classifier that was trained on the noisy ("silver") labels says, on average,
of clean ("gold") samples of class i. A fresh classifier minimises −log Σ_k q_k Ĉ_ky on silver
samples and cross entropy on gold ones, summed over a mixed batch and divided by its size.

Source: Hendrycks et al., "Using Trusted Data to Train Deep Networks on Labels Corrupted by Severe
Noise", NeurIPS 2018, section 3, as in the authors' repository mmazeika/glc
(CIFAR/train_ours.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import GLCConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.transition import (
    given_loss,
    log_joint,
    one_hot,
    predict,
    transition,
    trust,
)


def estimate(model: nn.Module, gold: ImageSet, y: Tensor, num_classes: int) -> Tensor:
    """Return Ĉ, (K, K), from a classifier of the noisy labels and the gold set's labels, (M,)."""
    return transition(one_hot(y, num_classes), predict(model, gold))


def num_gold(batch_size: int, gold_share: float) -> int:
    """Return how many gold samples join B silver ones, with M/N as in the two sets; at least 1."""
    return max(1, round(batch_size * gold_share))


class GLC:
    """The method: see the module.

    Args:
        matrix: Ĉ, (K, K).
        gold_share: M/N, gold samples for each silver one.
    """

    phase: object = None  # every step does the same operations

    def __init__(self, model: nn.Module, matrix: Tensor, recipe: Recipe, gold_share: float) -> None:
        self.model = model
        self._matrix = matrix
        self._recipe = recipe
        self._gold_share = gold_share
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, matrix=matrix)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step on silver and gold samples; weight: P(the given label is right).

        One pass serves both, so batch norm sees the mixed batch.
        """
        assert meta is not None
        size = len(batch.y)
        gold = slice(num_gold(size, self._gold_share))
        logits = self.model(torch.cat([batch.x, meta.x[gold]]))
        joint = log_joint(logits[:size], self._matrix.T[batch.y])
        silver_losses = given_loss(joint)
        gold_losses = F.cross_entropy(logits[size:], meta.y[gold], reduction="none")
        descend(torch.cat([silver_losses, gold_losses]).mean(), self._optimizer)
        return {
            "loss": silver_losses.detach(),
            "weight": trust(joint, batch.y),
            "gold_loss": gold_losses.mean().detach(),
        }


def build(config: GLCConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.pretrained is not None, "the section says that it needs a probe"
    assert parts.meta is not None, "the section says that it needs the clean set"
    labels = parts.meta.y
    matrix = estimate(parts.pretrained(), parts.meta, labels, parts.num_classes)
    return GLC(parts.new_model(0), matrix, parts.recipe, len(parts.meta) / len(parts.y))
