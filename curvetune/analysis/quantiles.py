"""Quantiles that every report needs, by SciPy, which is imported where one is asked for."""

CONFIDENCE = 0.95


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with so many degrees of freedom, at least 1."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def expanded_tail(settings: int) -> float:
    """Return which share lies below an expanded percentile interval of 95 %, of 2 or more settings.

    It is that of a normal distribution below -t sqrt(k / (k - 1)) (bootstrap.py).
    """
    from scipy.special import ndtr

    return float(ndtr(-t_quantile(settings - 1) * (settings / (settings - 1)) ** 0.5))


def binomial_quantile(n: int, p: float) -> int:
    """Return the smallest number of n that are right in at most so many of 97.5 % of all draws.

    Args:
        p: the probability of each to be right, above 0 and below 1.
    """
    import numpy as np
    from scipy.special import bdtr

    within = bdtr(np.arange(n + 1), n, p) >= (1 + CONFIDENCE) / 2
    return int(np.argmax(within))
