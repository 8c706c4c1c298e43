"""MixUp with one share for a whole batch, drawn on the device and without a wait for it."""

from typing import NamedTuple

import torch
from torch import Tensor

QUANTILES = 4096  # that a share is drawn from
CELLS = 64 * QUANTILES  # of the sum that stands for the integral of the density


class Mixing(NamedTuple):
    """With what, and how much, each sample of a batch is mixed."""

    own: Tensor  # 0-d, the share of the sample itself, at least a half
    other: Tensor  # (B,) int64, a permutation


class MixUp:
    """Draws mixings: own shares max(l, 1 − l) with l from Beta(alpha, alpha).

    PyTorch draws from a Beta distribution with its global generator only, so l is one of the
    distribution's quantiles at equal distances, drawn from our own.
    """

    def __init__(self, alpha: float, generator: torch.Generator) -> None:
        self._generator = generator
        self._shares = beta_quantiles(alpha).to(generator.device, torch.float32)

    def draw(self, size: int) -> Mixing:
        """Return a mixing of `size` samples."""
        generator, device = self._generator, self._generator.device
        at = torch.randint(QUANTILES, (), generator=generator, device=device)
        share = self._shares.take(at)
        other = torch.randperm(size, generator=generator, device=device)
        return Mixing(torch.maximum(share, 1 - share), other)


def mix(values: Tensor, mixing: Mixing) -> Tensor:
    """Return values, (B, ...), each mixed with that of its other sample."""
    return mixing.own * values + (1 - mixing.own) * values[mixing.other]


def beta_quantiles(alpha: float, count: int = QUANTILES) -> Tensor:
    """Return the quantiles of Beta(alpha, alpha) at (k + ½) / count, (count,) float64."""
    x = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS
    logs = (alpha - 1) * (x * (1 - x)).log()
    reached = logs.softmax(dim=0).cumsum(dim=0)
    at = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return x[torch.searchsorted(reached, at).clamp(max=CELLS - 1)]
