"""Loss curves less the mean of their class, made of the rows that are asked for."""

import torch
from torch import Tensor

from curvetune.methods.base import class_counts

EPSILON = 1e-8  # keeps a class of one sample, whose standard deviation is 0, finite
AT_ONCE = 65_536  # rows that are summed: of a file that is mapped, few are copied


class Centred:
    """Curves, (N, T), less the mean of their class at every epoch; none is held but the given.

    On a CPU sums come row by row, so that they are the same bits in pieces as at once. A GPU adds
    in no order, and has them in its memory anyway: there it is one piece.

    Args:
        y: (N,) given labels, which say what class a sample is in.
        normalise: `mean_std` divides by the standard deviation of the class as well.
    """

    def __init__(self, curves: Tensor, y: Tensor, num_classes: int, normalise: str) -> None:
        self._curves, self._y, self._variances = curves, y, None
        counts = class_counts(y, num_classes).clamp(min=1)[:, None]
        self._means = self._sums(num_classes, power=1) / counts
        if normalise != "mean":
            self._variances = self._sums(num_classes, power=2) / counts

    @property
    def shape(self) -> torch.Size:
        """(N, T)."""
        return self._curves.shape

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return some of them, (n, T)."""
        y = self._y[index]
        centred = self._curves[index] - self._means[y]
        return centred if self._variances is None else centred / self._deviation(y)

    def _deviation(self, y: Tensor) -> Tensor:
        assert self._variances is not None
        return self._variances[y].sqrt() + EPSILON

    def _sums(self, num_classes: int, power: int) -> Tensor:
        """Return the sum over each class, (K, T), of the curves, or of the centred, squared."""
        curves, y = self._curves, self._y
        sums = torch.zeros(num_classes, curves.shape[1], device=curves.device)
        step = AT_ONCE if curves.device.type == "cpu" else max(1, len(y))
        for start in range(0, len(y), step):
            part = slice(start, start + step)
            sums.index_add_(0, y[part], curves[part] if power == 1 else self[part] ** 2)
        return sums


def centre(curves: Tensor, y: Tensor, num_classes: int, normalise: str = "mean") -> Tensor:
    """Return curves, (N, T), less the mean of their class at every epoch (Eq. 7 and 8).

    Args:
        y: (N,) given labels, which say what class a sample is in.
        normalise: `mean_std` divides by the standard deviation of the class as well.
    """
    return Centred(curves, y, num_classes, normalise)[:]
