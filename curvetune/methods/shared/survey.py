"""What methods share that look, between two epochs, at the features of a whole set."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import reading
from curvetune.models import features, last_layer

SURVEY_BATCH = 1000  # as evaluation's (training/metrics.py): no gradients, so memory is no limit


class Survey(NamedTuple):
    """What a classifier makes of a set, in its order."""

    features: Tensor  # (n, D), what the last layer sees
    logits: Tensor  # (n, K)


def survey(model: nn.Module, images: ImageSet) -> Survey:
    """Pass over images as they are; the model is in eval mode only meanwhile."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        with reading(images.ordered(SURVEY_BATCH)) as batches:
            seen = torch.cat([features(model, batch.x) for batch in batches])
        logits: Tensor = last_layer(model)(seen)
    model.train(was_training)
    return Survey(seen, logits)


class Members(NamedTuple):
    """The samples of each class, as a rectangle: M is the size of the largest class."""

    rows: Tensor  # (K, M) int64, 0 where a smaller class has no more
    mask: Tensor  # (K, M) bool, where it has


def members(y: Tensor, num_classes: int) -> Members:
    """Return the positions of each label in `y`, (n,), in order. Waits for the device."""
    order = y.argsort(stable=True)
    counts = torch.bincount(y, minlength=num_classes)
    place = torch.arange(int(counts.max()), device=y.device).expand(num_classes, -1)
    mask = place < counts[:, None]
    first = counts.cumsum(0) - counts
    return Members(order[torch.where(mask, first[:, None] + place, 0)] * mask, mask)
