"""RoLT-DRW: samples far from the prototype of their class get a soft label; weights come late.

Before each epoch, a mixture of two Gaussians over the distances to the class prototype splits each
given class; the prototype is then that of the near samples, and the class is split again. A sample
that stays far learns from a mix: what the classifier says, what the nearest prototype says, its
given label and every label. Once the learning rate dropped, one half of every sample's label is
fixed as it was then, the other half of a far sample is every label, and rare classes weigh more.

Source: Wei et al., "Robust Long-Tailed Learning under Label Noise", arXiv 2108.11569, as in the
authors' repository Stomach-ache/RoLT (run_networks.py, config feat_uniformdrw). The numbers below
are in that code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import RoLTDRWConfig
from curvetune.data.sets.image_set import ImageSet
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
from curvetune.methods.shared.mixture import upper_component
from curvetune.methods.shared.survey import Members, members, survey

SMOOTHING = 0.6  # of the moving averages of both classifiers' outputs
LOOK_AHEAD = 10  # epochs that the averages start early: what is older has 0.6^10 = 0.6 %
CLASSIFIER, PROTOTYPE, GIVEN, UNIFORM = 0.4, 0.2, 0.2, 0.2  # the mix of a far sample
FIXED = 0.5  # of a label fixed when the learning rate dropped; the rest is uniform if far
FARTHEST = 4.0  # squared distance of opposite unit vectors, given to classes without samples
FLAT = 1e-6  # spread of distances below which a class cannot be split


def centre_and_scale(features: Tensor) -> Tensor:
    """Return features, (N, D), less their mean, of length 1."""
    return F.normalize(features - features.mean(dim=0))


def nearness(directions: Tensor, y: Tensor, keep: Tensor, num_classes: int) -> Tensor:
    """Return minus the squared distance to each class's mean, (N, K).

    Args:
        directions: (N, D).
        y: (N,) labels.
        keep: (N,) bool, which samples make the means.
    """
    shares = F.one_hot(y, num_classes).float() * keep[:, None]
    counts = shares.sum(dim=0)
    means = shares.T @ directions / counts.clamp(min=1)[:, None]
    squares = (directions**2).sum(dim=1, keepdim=True) + (means**2).sum(dim=1)
    near = 2 * directions @ means.T - squares
    return torch.where(counts > 0, near, -FARTHEST)


def near_samples(own: Tensor, groups: Members) -> Tensor:
    """Return which samples are near their class's prototype, (N,) bool.

    All of a class are if the mixture finds no near ones or nothing to split.

    Args:
        own: (N,) nearness of each sample to its class.
    """
    values, mask = own[groups.rows], groups.mask
    low = torch.where(mask, values, torch.inf).min(dim=1, keepdim=True).values
    high = torch.where(mask, values, -torch.inf).max(dim=1, keepdim=True).values
    spread = torch.where(mask.any(dim=1, keepdim=True), high - low, 0.0)
    scaled = torch.where(mask & (spread > FLAT), (values - low) / spread, 0.0)
    near = (upper_component(scaled, mask) > 0.5) & mask
    whole = (spread <= FLAT) | ~near.any(dim=1, keepdim=True)
    found = torch.ones_like(own, dtype=torch.bool)
    found[groups.rows[mask]] = (near | whole)[mask]
    return found


def soft_labels(
    y: Tensor, near: Tensor, by_classifier: Tensor, by_prototype: Tensor, num_classes: int
) -> Tensor:
    """Return the labels before the learning rate drops, (B, K), rows summing to 1.

    Args:
        y: (B,) given labels, which a near sample keeps.
        near: (B,) bool.
        by_classifier: (B,) labels that the classifier gives.
        by_prototype: (B,) labels of the nearest prototypes.
    """
    given, first, second = (
        F.one_hot(labels, num_classes).float() for labels in (y, by_classifier, by_prototype)
    )
    mix = CLASSIFIER * first + PROTOTYPE * second + GIVEN * given + UNIFORM / num_classes
    return torch.where(near[:, None], given, mix)


def late_labels(y: Tensor, near: Tensor, fixed: Tensor, num_classes: int) -> Tensor:
    """Return the labels after the learning rate dropped, (B, K), rows summing to 1.

    Args:
        fixed: (B,) labels: given ones of samples that were near at the drop, else the classifier's.
    """
    now, then = (F.one_hot(labels, num_classes).float() for labels in (y, fixed))
    rest = torch.where(near[:, None], now, 1 / num_classes)
    return FIXED * then + (1 - FIXED) * rest


class RoLTDRW:
    """The method: see the module.

    Args:
        y: (N,) given labels.
        soft_from: first epoch with soft labels.
        late_from: first epoch with late labels and class weights; None for never.
        drw_beta: of the class weights.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        train: ImageSet,
        y: Tensor,
        num_classes: int,
        *,
        soft_from: int,
        late_from: int | None,
        drw_beta: float,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._train = train
        self._y = y
        self._num_classes = num_classes
        self._soft_from = soft_from
        self._late_from = late_from
        self._drw_beta = drw_beta
        self._groups = members(y, num_classes)
        self._epoch = 0
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self._by_classifier = torch.zeros(len(y), num_classes, device=y.device)
        self._by_prototype = torch.zeros_like(self._by_classifier)
        self._near = torch.ones_like(y, dtype=torch.bool)
        self._fixed = y.clone()
        self._class_weights = torch.ones(num_classes, device=y.device)
        self.state = State(
            model=model,
            optimizer=self._optimizer,
            by_classifier=self._by_classifier,
            by_prototype=self._by_prototype,
            near=self._near,
            fixed=self._fixed,
            class_weights=self._class_weights,
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate; split the classes anew."""
        self._epoch = epoch
        late = self._late_from is not None and epoch >= self._late_from
        self.phase = (epoch >= self._soft_from, late)
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        if epoch >= self._soft_from - LOOK_AHEAD:
            self._look()
        if epoch == self._late_from:
            self._fix()

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the cross entropy with the labels of the stage."""
        labels = self._labels(batch)
        weighted = labels * self._class_weights
        logs = F.log_softmax(self.model(batch.x), dim=1)
        descend(-(weighted * logs).sum() / weighted.sum(), self._optimizer)
        losses = -(labels * logs.detach()).sum(dim=1)
        near = self._near[batch.index] | (self._epoch < self._soft_from)
        return {"loss": losses, "weight": near.float()}

    def _labels(self, batch: Batch) -> Tensor:
        """Return the labels of a batch, (B, K)."""
        y, near, index = batch.y, self._near[batch.index], batch.index
        if self._epoch < self._soft_from:
            return F.one_hot(y, self._num_classes).float()
        if self._late_from is not None and self._epoch >= self._late_from:
            return late_labels(y, near, self._fixed[index], self._num_classes)
        by_classifier, by_prototype = (
            outputs[index].argmax(dim=1) for outputs in (self._by_classifier, self._by_prototype)
        )
        return soft_labels(y, near, by_classifier, by_prototype, self._num_classes)

    def _look(self) -> None:
        """Pass over the set: split its classes, and let both averages move."""
        seen = survey(self.model, self._train)
        directions = centre_and_scale(seen.features)
        keep = torch.ones_like(self._near)
        for _ in range(2):  # with the prototypes of all, then with those of near samples
            scores = nearness(directions, self._y, keep, self._num_classes)
            keep = near_samples(scores.gather(1, self._y[:, None]).squeeze(1), self._groups)
        self._near.copy_(keep)
        # From zero: the labels are those of the largest, whatever the scale of an average.
        self._by_classifier.lerp_(seen.logits, 1 - SMOOTHING)
        self._by_prototype.lerp_(scores, 1 - SMOOTHING)

    def _fix(self) -> None:
        """Fix the labels of all samples, and the class weights from them."""
        self._fixed.copy_(torch.where(self._near, self._y, self._by_classifier.argmax(dim=1)))
        counts = class_counts(self._fixed, self._num_classes)
        self._class_weights.copy_(effective_number_weights(counts, self._drw_beta))


def build(config: RoLTDRWConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return RoLTDRW(
        parts.new_model(0),
        parts.recipe,
        parts.train,
        parts.y,
        parts.num_classes,
        soft_from=round(config.clean_start * parts.first_drop),
        late_from=parts.first_drop if config.drw else None,
        drw_beta=config.drw_beta,
    )
