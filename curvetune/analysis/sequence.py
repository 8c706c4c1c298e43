"""A confidence interval of a mean that holds however often one looks: a confidence sequence.

An ordinary interval is of a number of values that was fixed before. Who looks after every new value
and stops when he likes what he sees is wrong far more often than 5 % of the time. The intervals
here hold all at once: the chance that any of them, after any number of values, misses the mean is
at most 5 %. So one may stop after any round, for any reason, and go on later.

The values are taken as normal draws with one mean and an unknown variance. Here a value is one
seed's difference of two methods, averaged over the settings of a grid. docs/statistics.md says how
often the intervals are wrong where the draws are not normal.

With t Student's statistic of n values against a mean m, and c > 0,

    E_n(m) = sqrt(c² / (n + c²)) · ((1 + t²/(n-1)) / (1 + c²/(n + c²) · t²/(n-1)))^(n/2)

is a nonnegative martingale that begins at 1 if m is the mean. By Ville's inequality it is ever
above 20 with a chance of at most 1/20. The interval after n values is the set of all m where it is
below 20.

Source: H. Wang and A. Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means
with unknown variance", 2023, https://arxiv.org/abs/2310.03722, the Gaussian mixture of section 4;
the martingale is the Bayes factor of M. Gönen et al., "The Bayesian two-sample t test", The
American Statistician 59, 2005.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

ALPHA = 0.05
# The mixture's precision: the standard deviation of mean/sd that it expects is 1/c. At 1 the
# intervals are narrowest, for their number of values, at about 5 to 50 (docs/statistics.md).
MIXTURE_C = 1.0
# Before that, differences of few possible values can all be equal by chance: five of one sign come
# one time in sixteen. An interval that is not looked at costs no error.
FEWEST = 6


def sequence_interval(
    values: Sequence[float], *, alpha: float = ALPHA, c: float = MIXTURE_C
) -> tuple[float, float] | None:
    """Return the interval of the mean after `values`; None where they still allow any mean.

    Args:
        values: in the order in which they came; all of them, none left out for what it was.
        alpha: the chance that any interval, after any number of values, misses the mean.
    """
    half = half_width(len(values), stdev(values), alpha=alpha, c=c) if len(values) > 1 else math.inf
    if not math.isfinite(half):
        return None
    mean = fmean(values)
    return mean - half, mean + half


def half_width(n: int, sd: float, *, alpha: float = ALPHA, c: float = MIXTURE_C) -> float:
    """Return half the interval's width after `n` values of a sample sd; infinite at first."""
    if n < FEWEST:
        return math.inf
    ratio = c * c / (n + c * c)
    grown = (1.0 / (alpha * alpha * ratio)) ** (1.0 / n)
    if grown * ratio >= 1.0:  # E_n is below 1/alpha for every mean
        return math.inf
    q = (grown - 1.0) / (1.0 - grown * ratio)  # t² / (n - 1) at which E_n is 1/alpha
    return sd * math.sqrt(q * (n - 1) / n)


def evidence(values: Sequence[float], mean: float = 0.0, *, c: float = MIXTURE_C) -> float:
    """Return E_n, the evidence against `mean`; 1 is none, and above 20 is 5 %."""
    n = len(values)
    if n < FEWEST:
        return 1.0
    ratio, sd = c * c / (n + c * c), stdev(values)
    shift = fmean(values) - mean
    if sd == 0.0:
        return 1.0 if shift == 0.0 else math.sqrt(ratio) * math.pow(ratio, -n / 2)
    q = shift * shift * n / (sd * sd * (n - 1))
    return math.sqrt(ratio) * math.pow((1 + q) / (1 + ratio * q), n / 2)
