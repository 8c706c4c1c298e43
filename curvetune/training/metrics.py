"""Numbers about a classifier and about sample weights. Accuracies are percents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import reading

EVALUATION_BATCH = 1000
CONFUSION = "confusion"  # in a result
MOST_CLASSES = 100  # whose confusions a result keeps: 20 kB
LAST = 10  # epochs in the mean of the last ones, the rule of Co-teaching and of O2U-Net


@dataclass(frozen=True)
class Evaluation:
    """How well a classifier does on a test set."""

    accuracy: float
    per_class: list[float | None]  # recall of each class; None where it has no test image
    counts: Tensor  # (K, K), how often an image of class i was taken for j; on the model's device

    def confusion(self) -> dict[str, list[str]]:
        """Return `counts` as a result keeps it, a text for each row; nothing of many classes."""
        if len(self.counts) > MOST_CLASSES:
            return {}
        rows = self.counts.long().tolist()
        return {CONFUSION: [" ".join(map(str, row)) for row in rows]}


def evaluate(model: nn.Module, test: ImageSet, num_classes: int) -> Evaluation:
    """Return accuracy and recall per class; the model is in eval mode only meanwhile."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right, total = (torch.zeros(num_classes, device=device) for _ in range(2))
    counts = torch.zeros(num_classes**2, device=device)
    with torch.no_grad(), reading(test.ordered(EVALUATION_BATCH)) as batches:
        for batch in batches:
            found = model(batch.x).argmax(dim=1)
            hits = (found == batch.y).float()
            pairs = batch.y * num_classes + found.clamp(max=num_classes - 1)
            counts.index_add_(0, pairs, torch.ones_like(hits))
            right.index_add_(0, batch.y, hits)
            total.index_add_(0, batch.y, torch.ones_like(hits))
    model.train(was_training)
    hits_of, size_of = right.tolist(), total.tolist()  # the one wait for the device
    recalls = [100 * h / n if n else None for h, n in zip(hits_of, size_of, strict=True)]
    accuracy = 100 * sum(hits_of) / sum(size_of)
    return Evaluation(accuracy, recalls, counts.reshape(num_classes, num_classes))


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
