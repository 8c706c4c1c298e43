"""cRT: the last layer is trained anew, on balanced classes, behind features that stay.

The features are those of a classifier that was trained with cross entropy on the data as it is: the
method's probe. A fresh last layer then sees every class equally often: the probability that a
sample is drawn is 1 / (K n_y).

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR
2020, sections 3 and 4.1, as in the authors' repository facebookresearch/classifier-balancing
(config/ImageNet_LT/cls_crt.yaml, run_networks.py).
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CRTConfig
from curvetune.methods.base import (
    Method,
    Parts,
    Recipe,
    State,
    class_counts,
    descend,
    set_lr,
    sgd,
)
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.models import features, last_layer, replace_last_layer


def balanced_order(y: Tensor, num_classes: int, draws: torch.Generator) -> Tensor:
    """Return as many indices as there are labels, (N,): each class as likely, then each sample."""
    chance = 1 / class_counts(y, num_classes)[y]
    return chance.multinomial(len(y), replacement=True, generator=draws)


def first_of_each(index: Tensor) -> Tensor:
    """Return where each of some indices, (B,), comes first, (B,)."""
    return (index[:, None] == index).int().argmax(dim=1)  # argmax: the first of the largest


class CRT:
    """The method: see the module.

    Args:
        model: trained, with a last layer that is not; it stays in eval mode.
        y: (N,) given labels.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self, model: nn.Module, recipe: Recipe, y: Tensor, num_classes: int, draws: torch.Generator
    ) -> None:
        self.model = model.eval()
        self._recipe = recipe
        self._y = y
        self._num_classes = num_classes
        self._draws = draws
        self._optimizer = sgd(last_layer(model), recipe)
        self.state = State(model=model, optimizer=self._optimizer, draws=draws)

    def start_epoch(self, epoch: int) -> Tensor:
        """Set the learning rate; draw the samples."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        return balanced_order(self._y, self._num_classes, self._draws)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one step of the last layer on the mean cross entropy.

        A sample may be in a batch more than once, in other views; its first loss is reported, so
        that no matter which one is kept.
        """
        with torch.no_grad():
            seen = features(self.model, batch.x)
        losses = cross_entropy(last_layer(self.model)(seen), batch.y)
        descend(losses.mean(), self._optimizer)
        return {"loss": losses.detach()[first_of_each(batch.index)]}


def build(config: CRTConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.pretrained is not None, "the section says that it needs a probe"
    model = parts.pretrained()
    replace_last_layer(model, last_layer(parts.new_model(0)))
    return CRT(model, parts.recipe, parts.y, parts.num_classes, parts.draws)
