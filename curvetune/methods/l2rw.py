"""L2RW: a sample counts as much as its gradient agrees with that of the clean set.

No network: at every step the weights start from ε = 0, and w_i = max(0, −∂L_meta/∂ε_i) after a
virtual step on Σ ε_i ℓ_i. With ε = 0 that step stays at ω, so −∂L_meta/∂ε_i = lr ⟨∇ℓ_i, ∇L_meta⟩ at
ω, and the learning rate cancels where the weights are normalised to sum 1.

Source: Ren et al., "Learning to Reweight Examples for Robust Deep Learning", ICML 2018, Eq. 6 to 9
and Algorithm 1; the native recipe is that of uber-research/learning-to-reweight-examples
(cifar/configs/cifar-resnet-32.prototxt).
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import L2RWConfig
from curvetune.meta import Forward, forward
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd


def clipped_share(agreement: Tensor) -> Tensor:
    """Return weights ≥ 0, (B,), that sum to 1 where any agreement, (B,), is positive, else to 0."""
    positive = agreement.clamp(min=0)
    largest = positive.max()
    positive = positive / torch.where(largest > 0, largest, 1)  # a sum of tiny products is not 0
    return positive / positive.sum().clamp(min=1)  # the largest is 1, unless all are 0


def agreement(passed: Forward, meta: Batch) -> tuple[Tensor, Tensor]:
    """Return ⟨∇ℓ_i, ∇L_meta⟩ at the classifier's own parameters, (B,), and the meta loss, 0-d."""
    meta_pass = forward(passed.model, meta, update_statistics=False)
    meta_loss = meta_pass.losses.mean()
    direction = torch.autograd.grad(meta_loss, list(meta_pass.params.values()))
    return passed.inner_products(direction), meta_loss.detach()


class L2RW:
    """The method: see the module."""

    phase: object = None  # every step does the same operations

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = model
        self._recipe = recipe
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Weigh the batch by the meta batch, then take the real step on Σ w_i ℓ_i."""
        assert meta is not None
        passed = forward(self.model, batch)
        products, meta_loss = agreement(passed, meta)
        weights = clipped_share(products)
        descend((weights * passed.losses).sum(), self._optimizer)
        return {
            "loss": passed.losses.detach(),
            "weight": weights * len(weights),  # mean 1: the same for batches of all sizes
            "meta_loss": meta_loss,
        }


def build(config: L2RWConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return L2RW(parts.new_model(0), parts.recipe)
