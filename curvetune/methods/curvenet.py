"""CurveNet: the weight of a sample is a network of its loss curve and its given class.

Source: Jiang et al., "Delving into Sample Loss Curve to Embrace Noisy and Imbalanced Data", AAAI
2022, Eq. 7, 8, 11 and 12; details as in the authors' released code, jiangwenj02/CurveNet-V1
(processor/recognition_curve.py). docs/reproduction.md lists where the two differ.
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CurveNetConfig
from curvetune.meta import forward
from curvetune.methods.base import (
    Method,
    Parts,
    Recipe,
    State,
    class_counts,
    effective_number_weights,
    set_lr,
    sgd,
)
from curvetune.methods.shared.centred import EPSILON, Centred, centre
from curvetune.methods.shared.reweight import WeightLearner, weighted_step
from curvetune.models import CurveNet


def kept(curves: Tensor, removed: int, drop_last: bool) -> Tensor:
    """Return curves, (N, T), without their first S losses and, if asked, without the last."""
    return curves[:, removed : curves.shape[1] - drop_last]


def low_loss_samples(curves: Tensor, y: Tensor, num_classes: int, per_class: int) -> Tensor:
    """Return sorted indices of the `per_class` samples of each class with the least mean loss.

    They stand in for a clean meta set (the paper's Table 7, "0" images); a class with fewer
    samples gives all it has.
    """
    mean = curves.mean(dim=1)
    chosen = []
    for k in range(num_classes):
        members = (y == k).nonzero().squeeze(1)
        chosen.append(members[mean[members].argsort(stable=True)[:per_class]])
    return torch.cat(chosen).sort().values


class CurveNetMethod:
    """Learns the weights until the learning rate drops, then keeps them.

    Args:
        learner: holds CurveNet.
        num_samples: N.
        learn_until: first epoch at which CurveNet is no longer updated.
        late_weights: what counts then: each sample's `last` weight, or the `frozen` net's.
        class_weights: (K,), deferred re-weighting after that epoch; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        learner: WeightLearner,
        *,
        num_samples: int,
        learn_until: int,
        late_weights: str,
        class_weights: Tensor | None,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._learner = learner
        self._learn_until = learn_until
        self._late_weights = late_weights
        self._class_weights = class_weights
        self._optimizer = sgd(model, recipe)
        device = next(model.parameters()).device
        self._weights = torch.ones(num_samples, device=device)
        self._epoch = 0
        self.phase: object = None
        self.state = State(
            model=model,
            optimizer=self._optimizer,
            learner=learner.state,
            weights=self._weights,
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, which is also the virtual step's."""
        self._epoch = epoch
        self.phase = (epoch < self._learn_until, epoch > self._learn_until)
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Update CurveNet while it learns, then the classifier on the weighted batch."""
        passed = forward(self.model, batch)
        metrics = {"loss": passed.losses.detach()}
        if self._epoch < self._learn_until:
            weights, learned = self._learner.step(passed, meta, self._optimizer)
            self._weights[batch.index] = weights
            return metrics | learned | {"weight": weights}
        if self._late_weights == "last":
            weights = self._weights[batch.index]
        else:
            weights = self._learner.weights(batch, metrics["loss"])
        metrics["weight"] = weights
        # The released code compares strictly: deferred re-weighting starts one epoch later.
        if self._class_weights is not None and self._epoch > self._learn_until:
            weights = weights * self._class_weights[batch.y]
        weighted_step(passed, weights, self._optimizer)
        return metrics


def prepared(config: CurveNetConfig, parts: Parts) -> Tensor | Centred:
    """Return what the net reads of each sample, (N, L): its loss curve, its margins, or both.

    Margins are centred as losses are. Then one number divides them all, their standard deviation,
    since logits have no unit: they grow with the network and the epochs.

    Of a streamed set the loss curves of a batch are read and centred in its step: they may be more
    than the memory. Of margins that number would be another one in pieces, so they are held.
    """
    assert parts.curves is not None, "the section says that CurveNet needs a probe"
    if parts.train.reads and not config.reads_margins:
        losses = kept(parts.curves, config.removed_losses, config.drop_last)
        return Centred(losses, parts.y, parts.num_classes, config.normalise)

    def centred(curves: Tensor) -> Tensor:
        raw = kept(curves, config.removed_losses, config.drop_last)
        return centre(raw, parts.y, parts.num_classes, config.normalise)

    if not config.reads_margins:
        return centred(parts.curves)
    assert parts.margins is not None, "the section says that it reads margins"
    margins = centred(parts.margins)
    margins /= margins.std(correction=0) + EPSILON
    return margins if config.curve == "margin" else torch.cat([centred(parts.curves), margins], 1)


def build(config: CurveNetConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    curves = prepared(config, parts)
    net = CurveNet(
        curves.shape[1],
        parts.num_classes,
        embedding_dim=config.embedding_dim,
        embedding_scale=config.embedding_scale,
        head_layers=config.head_layers,
        floor=config.floor,
        last_bias=config.last_bias,
        generator=parts.generator,
    ).to(parts.y.device)

    def weigh(batch: Batch, losses: Tensor) -> Tensor:
        weights: Tensor = net(curves[batch.index], batch.y)
        return weights

    class_weights = None
    if config.drw:
        # From the given labels: the released code counts the true ones, which leaks the truth.
        counts = class_counts(parts.y, parts.num_classes)
        class_weights = effective_number_weights(counts, config.drw_beta)
    return CurveNetMethod(
        parts.new_model(0),
        parts.recipe,
        WeightLearner(net, weigh, config, virtual_step=config.virtual_step),
        num_samples=len(parts.y),
        learn_until=parts.first_drop,
        late_weights=config.late_weights,
        class_weights=class_weights,
    )
