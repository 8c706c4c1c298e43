"""Numbers about a classifier and about sample weights. Accuracies are percents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import reading

EVALUATION_BATCH = 1000
LAST = 10  # epochs in the mean of the last ones, the rule of Co-teaching and of O2U-Net


@dataclass(frozen=True)
class Evaluation:
    """How well a classifier does on a test set."""

    accuracy: float
    per_class: list[float | None]  # recall of each class; None where it has no test image


def evaluate(model: nn.Module, test: ImageSet, num_classes: int) -> Evaluation:
    """Return accuracy and recall per class; the model is in eval mode only meanwhile."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right, total = (torch.zeros(num_classes, device=device) for _ in range(2))
    with torch.no_grad(), reading(test.ordered(EVALUATION_BATCH)) as batches:
        for batch in batches:
            hits = (model(batch.x).argmax(dim=1) == batch.y).float()
            right.index_add_(0, batch.y, hits)
            total.index_add_(0, batch.y, torch.ones_like(hits))
    model.train(was_training)
    hits_of, size_of = right.tolist(), total.tolist()  # the one wait for the device
    recalls = [100 * h / n if n else None for h, n in zip(hits_of, size_of, strict=True)]
    return Evaluation(100 * sum(hits_of) / sum(size_of), recalls)


def three_accuracies(accuracies: Sequence[float]) -> dict[str, float]:
    """Return the accuracy of the last epoch, the mean of the last 10 and the best of all.

    The best selects on the test set, so it flatters; it is what the paper's code reports.
    """
    last = accuracies[-LAST:]
    return {
        "accuracy": accuracies[-1],
        "accuracy_last10": sum(last) / len(last),
        "accuracy_best": max(accuracies),
    }


def weight_gap(weights: Tensor, wrong: Tensor) -> float | None:
    """Return the mean weight, (N,), of right labels less that of wrong ones; None without both."""
    if bool(wrong.all()) or not bool(wrong.any()):
        return None
    return float(weights[~wrong].mean() - weights[wrong].mean())
