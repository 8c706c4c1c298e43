"""S-adaptation: a softmax layer after the classifier's, which turns true labels into given ones.

The loss is −log Σ_k q_k θ_ky, where θ_k is the softmax of b_k (simple) or of b_k + U_k h, with the
features h (complex). The classifier alone, q, is what is tested.

Source: Goldberger and Ben-Reuven, "Training Deep Neural-Networks Using a Noise Adaptation Layer",
ICLR 2017; b starts as the log of a pretrained classifier's confusion, which is what makes it work
(repository udibr/noisy_labels, channel.py); a first phase with θ fixed, as in the repository of Yao
et al., AAAI 2019 (cifar10_train_varT.py).
"""

from typing import cast

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import SAdaptationConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.transition import (
    FLOOR,
    first_estimate,
    given_loss,
    log_joint,
    predict,
    trust,
)
from curvetune.models import features, last_layer


class NoiseLayer(nn.Module):
    """θ, whose rows are a softmax of b, and of U h beside it in the complex form.

    Args:
        estimate: (K, K), what θ is at first; U starts at 0.
        width: D, of the features; 0 for the simple form.
    """

    def __init__(self, estimate: Tensor, width: int) -> None:
        super().__init__()
        size = len(estimate)
        self.bias = nn.Parameter((estimate + FLOOR).log())
        self.slope = nn.Parameter(estimate.new_zeros(size, size, width)) if width else None

    def matrix(self, seen: Tensor) -> Tensor:
        """Return θ, (K, K), or that of each sample, (B, K, K), from features (B, D)."""
        logits: Tensor = self.bias
        if self.slope is not None:
            logits = logits + (seen @ self.slope.flatten(0, 1).T).view(-1, *logits.shape)
        return logits.softmax(dim=-1)

    def forward(self, seen: Tensor, y: Tensor) -> Tensor:
        """Return the columns of the given labels (B,), (B, K)."""
        matrix = self.matrix(seen)
        if matrix.dim() == 2:
            return matrix.T[y]
        return matrix.gather(2, y[:, None, None].expand(-1, matrix.shape[1], 1)).squeeze(2)


class SAdaptation:
    """The method: see the module.

    Args:
        learn_from: first epoch that learns θ.
    """

    def __init__(
        self, model: nn.Module, layer: NoiseLayer, recipe: Recipe, learn_from: int
    ) -> None:
        self.model = model
        self._layer = layer
        self._recipe = recipe
        self._learn_from = learn_from
        self._learns = False
        self.phase: object = None
        # One optimizer, weight decay on θ included, as released.
        self._optimizer = sgd(nn.ModuleList([model, layer]), recipe)
        self.state = State(model=model, layer=layer, optimizer=self._optimizer)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, and whether θ is learned."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        self._learns = epoch >= self._learn_from
        self.phase = self._learns

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step on the likelihood of the given labels; weight: P(the label is right)."""
        seen = features(self.model, batch.x)
        with torch.set_grad_enabled(self._learns):  # a parameter without gradient stays as it is
            columns = self._layer(seen, batch.y)
        joint = log_joint(last_layer(self.model)(seen), columns)
        losses = given_loss(joint)
        descend(losses.mean(), self._optimizer)
        return {"loss": losses.detach(), "weight": trust(joint, batch.y)}


def build(config: SAdaptationConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.pretrained is not None, "the section says that it needs a probe"
    pretrained = parts.pretrained()
    estimate = first_estimate(predict(pretrained, parts.train), parts.y, config.confusion)
    model = pretrained if config.start_from == "pretrained" else parts.new_model(0)
    head = cast(nn.Linear, last_layer(model))
    layer = NoiseLayer(estimate, head.in_features if config.form == "complex" else 0)
    learn_from = round(config.fixed_share * parts.recipe.epochs)
    return SAdaptation(model, layer, parts.recipe, learn_from)
