"""HAR: penalise the gradient at every layer, more for classes that are uncertain or rare.

L = CE + ρ · mean_i λ_y Σ_l ‖∂CE/∂h_li‖, where CE is the mean over the batch and h_l the output of
the l-th batch norm inside a block before its scale and shift: 30 layers of a ResNet-32. λ_j grows
with the error on given labels of class j that a classifier of the other half makes.

Source: Cao et al., "Heteroskedastic and Imbalanced Deep Learning with Adaptive Regularization",
ICLR 2021, as in the authors' repository kaidic/HAR (cifar_hetero_est.py, weight_est.py,
cifar_train.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import HARConfig
from curvetune.methods.base import (
    Method,
    Parts,
    Recipe,
    State,
    class_counts,
    descend,
    effective_number_weights,
    set_lr,
    sgd,
)
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.transition import predict
from curvetune.models import stages_of

ERROR_POWER, COUNT_POWER = 0.6, 0.4  # of the released weight_est.py
TINY = 1e-12


def strengths(errors: Tensor, counts: Tensor) -> Tensor:
    """Return λ, (K,), err^0.6 / n^0.4 over its maximum, from errors and class counts, both (K,).

    A class without samples gets 0; it would take the maximum from the others.
    """
    raw = errors**ERROR_POWER / counts.clamp(min=1) ** COUNT_POWER
    raw = torch.where(counts > 0, raw, 0.0)
    return raw / raw.max().clamp(min=TINY)


def class_errors(predicted: Tensor, y: Tensor, held_out: Tensor, num_classes: int) -> Tensor:
    """Return each class's share of wrong predictions, (K,), among held-out samples.

    A class that has none counts as wholly wrong: nothing says that it was learned. (The released
    code does not handle it.)

    Args:
        predicted: (N,) classes; y: (N,) given labels; held_out: (N,) bool.
    """
    seen = class_counts(y[held_out], num_classes)
    right = class_counts(y[held_out & (predicted == y)], num_classes)
    return 1 - right / seen.clamp(min=1)


def block_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a classifier in order, without the stem's."""
    stages = stages_of(model)
    return [module for module in stages[1:].modules() if isinstance(module, nn.BatchNorm2d)]


def forward_keeping(
    model: nn.Module, x: Tensor, modules: Sequence[nn.Module]
) -> tuple[Tensor, list[Tensor]]:
    """Return logits, (B, K), and the output of each of `modules` in the order of the pass."""
    outputs: list[Tensor] = []
    handles = [m.register_forward_hook(lambda _m, _x, y: outputs.append(y)) for m in modules]
    try:
        return model(x), outputs
    finally:
        for handle in handles:
            handle.remove()


def gradient_norms(
    loss: Tensor, outputs: Sequence[Tensor], norms: Sequence[nn.BatchNorm2d]
) -> Tensor:
    """Return Σ_l ‖∂loss/∂h_li‖ of each sample, (B,), with its graph.

    The gradient at h, before scale γ and shift, is that at the output times γ.

    Args:
        outputs: (B, C, H, W) of each of `norms`.
    """
    slopes = torch.autograd.grad(loss, outputs, create_graph=True)
    lengths = [
        torch.linalg.vector_norm(slope * norm.weight[:, None, None], dim=(1, 2, 3))
        for slope, norm in zip(slopes, norms, strict=True)
    ]
    return torch.stack(lengths).sum(dim=0)


class HAR:
    """The method: see the module.

    Args:
        strength: λ, (K,).
        reg_weight: ρ.
        class_weights: (K,), of the cross entropy from epoch `reweigh_from` on; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        strength: Tensor,
        *,
        reg_weight: float,
        class_weights: Tensor | None,
        reweigh_from: int,
    ) -> None:
        self.model = model
        self._norms = block_norms(model)
        self._recipe = recipe
        self._strength = strength
        self._reg_weight = reg_weight
        self._class_weights = class_weights
        self._reweigh_from = reweigh_from
        self._epoch = 0
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, strength=strength)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, and which epoch it is."""
        self._epoch = epoch
        self.phase = epoch >= self._reweigh_from
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step on cross entropy and the penalty, which is differentiated again."""
        logits, outputs = forward_keeping(self.model, batch.x, self._norms)
        losses = cross_entropy(logits, batch.y)
        loss = self._mean(losses, batch.y)
        lengths = gradient_norms(loss, outputs, self._norms)
        penalty = (self._strength[batch.y] * lengths).mean()
        descend(loss + self._reg_weight * penalty, self._optimizer)
        return {"loss": losses.detach(), "penalty": penalty.detach()}

    def _mean(self, losses: Tensor, y: Tensor) -> Tensor:
        if self._class_weights is None or self._epoch < self._reweigh_from:
            return losses.mean()
        weights = self._class_weights[y]
        return (weights * losses).sum() / weights.sum()  # nn.CrossEntropyLoss(weight), as released


def build(config: HARConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.pretrained is not None, "the section says that it needs a probe"
    assert parts.curves is not None
    predicted = predict(parts.pretrained(), parts.train).argmax(dim=1)
    held_out = parts.curves.isnan().all(dim=1)
    counts = class_counts(parts.y, parts.num_classes)
    errors = class_errors(predicted, parts.y, held_out, parts.num_classes)
    return HAR(
        parts.new_model(0),
        parts.recipe,
        strengths(errors, counts),
        reg_weight=config.reg_weight,
        class_weights=effective_number_weights(counts, config.drw_beta) if config.drw else None,
        reweigh_from=parts.first_drop,
    )
