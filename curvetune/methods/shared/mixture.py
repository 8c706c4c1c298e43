"""Two Gaussians on a line, fitted to every class at once by expectation maximisation.

Source: the textbook algorithm, with the choices of scikit-learn's GaussianMixture (start from two
means, floor of the variance, tolerance), which fits one class at a time on the CPU.
"""

from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 100  # of k-means at most; scikit-learn has 300
SMALLEST = 1e-12  # number of samples of a component that lost all


class Fit(NamedTuple):
    """How a mixture is fitted; scikit-learn's defaults, by its names."""

    reg_covar: float = 1e-6  # floor of the variance
    tol: float = 1e-3  # of the mean log likelihood
    max_iter: int = 100


SCIKIT_LEARN = Fit()


def upper_component(values: Tensor, mask: Tensor, fit: Fit = SCIKIT_LEARN) -> Tensor:
    """Return the probability of the component with the larger mean, (K, M) float64.

    Args:
        values: (K, M), a row for each class.
        mask: (K, M), which of them count.
    """
    values, floor = values.double(), fit.reg_covar
    weights, means, variances = _maximise(values, mask, _two_means(values, mask), floor)
    last = torch.full((len(values),), -torch.inf, device=values.device, dtype=torch.float64)
    moving = torch.ones_like(last, dtype=torch.bool)
    for _ in range(fit.max_iter):
        shares, likelihood = _expect(values, mask, weights, means, variances)
        better = _maximise(values, mask, shares, floor)
        weights, means, variances = (
            torch.where(moving[:, None], new, old)
            for new, old in zip(better, (weights, means, variances), strict=True)
        )
        moving = moving & ((likelihood - last).abs() >= fit.tol)
        last = likelihood
        if not moving.any():
            break
    shares, _ = _expect(values, mask, weights, means, variances)
    return torch.where((means[:, 0] > means[:, 1])[:, None], shares[..., 0], shares[..., 1])


def _two_means(values: Tensor, mask: Tensor) -> Tensor:
    """Return the clusters of k-means from the extremes of each row, (K, M, 2) of 0 and 1."""
    low = torch.where(mask, values, torch.inf).min(dim=1).values
    high = torch.where(mask, values, -torch.inf).max(dim=1).values
    middle = (low + high) / 2
    for _ in range(STEPS):
        upper = (values > middle[:, None]) & mask
        lower = ~upper & mask
        sums = [(values * side).sum(1) / side.sum(1).clamp(min=1) for side in (lower, upper)]
        middle = (sums[0] + sums[1]) / 2
    return torch.stack([lower, upper], dim=2).double()


def _maximise(
    values: Tensor, mask: Tensor, shares: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, means and variances, (K, 2) each, from shares, (K, M, 2)."""
    shares = shares * mask[:, :, None]
    counts = shares.sum(dim=1).clamp(min=SMALLEST)
    means = (shares * values[:, :, None]).sum(dim=1) / counts
    apart = (values[:, :, None] - means[:, None, :]) ** 2
    variances = (shares * apart).sum(dim=1) / counts + floor
    return counts / counts.sum(dim=1, keepdim=True), means, variances


def _expect(
    values: Tensor, mask: Tensor, weights: Tensor, means: Tensor, variances: Tensor
) -> tuple[Tensor, Tensor]:
    """Return shares, (K, M, 2), and the mean log likelihood up to a constant, (K,)."""
    apart = (values[:, :, None] - means[:, None, :]) ** 2 / variances[:, None, :]
    logs = weights.log()[:, None, :] - 0.5 * (apart + variances.log()[:, None, :])
    fit = (logs.logsumexp(dim=2) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return logs.softmax(dim=2), fit
