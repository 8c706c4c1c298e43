"""The p value of Wilcoxon's signed-rank test, exact with ties and zeros.

Under the hypothesis, each difference is as likely positive as negative. So the sum W of the ranks
of the positive ones is a sum of independent coin tosses, whose distribution is computed here by
adding one toss after the other. Equal differences share the mean of their ranks, which is a half at
times: ranks are doubled to be whole. Differences of zero are dropped, as Wilcoxon did; Pratt's way
of ranking them is another test.

scipy.stats.wilcoxon takes a normal approximation wherever there are ties or zeros and more than 13
pairs (1.17, findings/wilcoxon_p_below_the_smallest.sh), which gives p values that cannot be.

Source: F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.ranks import doubled_ranks

DIGITS = 10  # two equal accuracies, averaged in another order, must stay equal
LARGEST = 1000  # differences; 2 to the power of minus that is still a float


def signed_rank(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of `differences`; 1 where all are 0, None of fewer than two.

    Of more than `LARGEST` that are not 0, it is the normal approximation, corrected for ties.
    """
    if len(differences) < 2:
        return None
    values = np.round(np.asarray(differences, np.float64), DIGITS)
    values = values[values != 0]
    if not len(values):
        return 1.0
    if len(values) > LARGEST:
        from scipy.stats import wilcoxon

        return float(wilcoxon(values, method="asymptotic").pvalue)
    doubled = doubled_ranks(np.abs(values))
    positive = int(doubled[values > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    return float(min(1.0, 2 * _lower_tail(doubled, smaller)))


def rank_biserial(differences: Sequence[float]) -> float | None:
    """Return the effect size of the test, from -1 to 1: (W+ - W-) / (W+ + W-).

    1 is where all differences are positive, 0 where both signs weigh the same; None of none that
    is not 0. Its sign is the side that the test is on, which the mean's may not be.

    Source: D. Kerby, "The simple difference formula: an approach to teaching nonparametric
    correlation", Comprehensive Psychology 3, 2014, https://doi.org/10.2466/11.IT.3.1.
    """
    values = np.round(np.asarray(differences, np.float64), DIGITS)
    values = values[values != 0]
    if not len(values):
        return None
    ranks = doubled_ranks(np.abs(values))
    return float((np.sign(values) * ranks).sum() / ranks.sum())


def num_differing(differences: Sequence[float]) -> int:
    """Return how many differences are not 0: those that the test ranks."""
    return int(np.count_nonzero(np.round(np.asarray(differences, np.float64), DIGITS)))


def smallest_p(differing: int) -> float:
    """Return the smallest p of so many differences that are not 0: all on one side."""
    return min(1.0, 2.0 ** (1 - differing))


def _lower_tail(ranks: NDArray[np.int64], largest: int) -> float:
    """Return P(W <= largest), where W adds up each of `ranks`, (n,), with probability 1/2.

    All terms are positive, so every addition costs at most one rounding: a relative error below
    n times 2e-16.
    """
    chance = np.zeros(largest + 1)  # of each sum; larger sums are not needed
    chance[0] = 1.0
    for rank in np.sort(ranks):
        chance *= 0.5
        if rank <= largest:
            chance[rank:] += chance[: largest + 1 - rank].copy()
    return float(chance.sum())
