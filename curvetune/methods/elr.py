"""Early-learning regularization: ℓ = CE + λ log(1 − ⟨t, q⟩), t being averages of earlier outputs.

Each sample has a target t, which starts at 0 and is t ← β t + (1 − β) q / Σ q at each visit, before
its loss. A classifier first learns the right labels; minimising the second term keeps it at those.
Outputs are clamped to [1e-4, 1 − 1e-4] in both places, and t has no gradient. What t gives to the
given label is reported as the weight: how far the label is believed.

Source: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS
2020, section 4, as in the authors' repository shengliu66/ELR (ELR/model/loss.py).
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import ELRConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy

FLOOR = 1e-4  # of outputs, as released


def clamped(logits: Tensor) -> Tensor:
    """Return outputs, (B, K), that are neither 0 nor 1; where they are clamped, without slope."""
    return logits.softmax(dim=1).clamp(FLOOR, 1 - FLOOR)


def moved_targets(targets: Tensor, outputs: Tensor, *, momentum: float) -> Tensor:
    """Return targets, (B, K), moved towards clamped outputs, (B, K), that sum to 1 again."""
    outputs = outputs.detach()
    return momentum * targets + (1 - momentum) * outputs / outputs.sum(dim=1, keepdim=True)


def elr_loss(logits: Tensor, y: Tensor, targets: Tensor, *, hold: float) -> Tensor:
    """Return the loss of each sample, (B,), which may be below 0.

    Args:
        logits: (B, K).
        y: (B,) labels.
        targets: (B, K), those of this visit.
        hold: λ.
    """
    agreement = (targets * clamped(logits)).sum(dim=1)
    return cross_entropy(logits, y) + hold * torch.log1p(-agreement)


class ELR:
    """The method: see the module."""

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        config: ELRConfig,
        targets: Tensor,
    ) -> None:
        """Take the targets of all samples, (N, K), which are written to."""
        self.model = model
        self._recipe = recipe
        self._config = config
        self._targets = targets
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, targets=targets)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Move the targets of the batch; take one SGD step on the mean loss."""
        config, index = self._config, batch.index
        logits = self.model(batch.x)
        targets = moved_targets(
            self._targets[index], clamped(logits), momentum=config.target_momentum
        )
        self._targets.index_copy_(0, index, targets)
        losses = elr_loss(logits, batch.y, targets, hold=config.hold)
        descend(losses.mean(), self._optimizer)
        weight = targets.gather(1, batch.y[:, None]).squeeze(1)
        return {"loss": losses.detach(), "weight": weight}


def build(config: ELRConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    targets = torch.zeros(len(parts.y), parts.num_classes, device=parts.y.device)
    return ELR(parts.new_model(0), parts.recipe, config, targets)
