"""How many seeds the present spread would need to show a difference as large as the one seen.

That is the power of the paired t test over seeds: a value is one seed's difference of two methods,
averaged over the settings. The difference seen is itself uncertain, most of all with few seeds. So
the number is a guide for planning, and no reason to believe in the difference.

Source: J. Cohen, "Statistical power analysis for the behavioral sciences", 1988, chapter 2; the
power is exact, by the noncentral t distribution.
"""

from collections.abc import Sequence
from statistics import fmean, stdev

ALPHA, POWER = 0.05, 0.8
FAR = 4.0  # standard errors between no difference and the one that is looked for
MOST = 1000  # seeds; beyond that it is "over 1,000"


def seeds_needed(differences: Sequence[float], power: float = POWER) -> int | None:
    """Return how many seeds in all would show the mean of `differences`; None of too few to say.

    It is `MOST` + 1 where so many do not suffice, and never fewer than two.
    """
    if len(differences) < 2:
        return None
    spread, mean = stdev(differences), fmean(differences)
    if spread == 0.0:
        return 2 if mean else MOST + 1
    effect = abs(mean) / spread
    if power_of(effect, MOST) < power:
        return MOST + 1
    low, high = 1, MOST  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(effect, middle) >= power else (middle, high)
    return high


def power_of(effect: float, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that `n` seeds show a difference of `effect` standard deviations."""
    if n < 2:
        return 0.0
    from scipy.special import stdtrit
    from scipy.stats import nct

    critical, shift = float(stdtrit(n - 1, 1 - alpha / 2)), effect * n**0.5
    # The lower tail is below 1e-8 there. scipy gives NaN for many of so small values
    # (findings/noncentral_t_is_nan_in_its_tail.sh).
    lower = 0.0 if shift > FAR else float(nct.cdf(-critical, n - 1, shift))
    return lower + float(nct.sf(critical, n - 1, shift))
