"""Means and spreads over a grid: what becomes of the accuracies of its cells.

MA of a method = unweighted mean over the grid's bias settings of the cell accuracy, each setting
first averaged over seeds (paper, section "Results on CIFAR"). Nothing is averaged over a hole: MA
is known only where every setting has at least one seed done.

An interval is Student's t over seeds, 95 %: what another set of seeds would give, of the same
settings. With three seeds it is wide, and rightly so. With two it would be 12.7 standard errors to
each side, which says nothing, so there is none. It ends where accuracies do.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import TypeVar

from curvetune.analysis.quantiles import t_quantile

FEWEST = 3  # values that an interval needs
ACCURACIES = (0.0, 100.0)  # percent
DIFFERENCES = (-100.0, 100.0)  # of two accuracies, in points

S = TypeVar("S", bound=Hashable)  # a bias setting; scores are (setting, seed) -> accuracy


@dataclass(frozen=True)
class Mean:
    """A mean with the sample standard deviation over seeds; None where it is not known."""

    mean: float | None
    std: float | None
    interval: tuple[float, float] | None = None  # 95 %, over seeds; None with fewer than three
    n: int = 0  # seeds that the spread is over


def mean_accuracy(settings: Sequence[S], scores: Mapping[tuple[S, int], float]) -> Mean:
    """Return the MA over `settings`, and its spread over the seeds that have all of them.

    It has an interval only if every seed that is there has all settings: else the interval would
    be of other cells than the mean.
    """
    groups = by_setting(scores)
    if not settings or any(setting not in groups for setting in settings):
        return Mean(None, None)
    seeds = dict.fromkeys(seed for _, seed in scores)
    whole = [s for s in seeds if all((setting, s) in scores for setting in settings)]
    per_seed = [fmean(scores[setting, seed] for setting in settings) for seed in whole]
    mean = fmean(fmean(groups[setting]) for setting in settings)
    even = len(whole) == len(seeds)
    return Mean(mean, _spread(per_seed), t_interval(per_seed) if even else None, len(whole))


def accuracies_so_far(
    methods: Mapping[str, Mapping[tuple[S, int], float]],
) -> dict[str, float | None]:
    """Return the mean accuracy of each method over what all of them have done; None if nothing.

    Each mean is over the same settings and seeds: so two of them can be compared.

    Args:
        methods: the scores of each.
    """
    common = set.intersection(*(set(scores) for scores in methods.values())) if methods else set()
    if not common:
        return dict.fromkeys(methods)
    return {
        label: fmean(map(fmean, by_setting({where: scores[where] for where in common}).values()))
        for label, scores in methods.items()
    }


def over_seeds(values: Sequence[float]) -> Mean:
    """Return mean and spread of one setting, of the values of the seeds that are done."""
    mean = fmean(values) if values else None
    return Mean(mean, _spread(values), t_interval(values), len(values))


def t_interval(
    values: Sequence[float], *, within: tuple[float, float] = ACCURACIES
) -> tuple[float, float] | None:
    """Return Student's 95 % interval of the mean of `values`; None of fewer than `FEWEST`.

    Args:
        within: the smallest and the largest value that there can be; the interval is cut there.
    """
    if len(values) < FEWEST:
        return None
    n, mean = len(values), fmean(values)
    half = t_quantile(n - 1) * _deviation(tuple(values)) / n**0.5
    return max(within[0], mean - half), min(within[1], mean + half)


def by_setting(scores: Mapping[tuple[S, int], float]) -> dict[S, list[float]]:
    """Return the scores of each setting, in their order."""
    groups: dict[S, list[float]] = {}
    for (setting, _), value in scores.items():
        groups.setdefault(setting, []).append(value)
    return groups


def _spread(values: Sequence[float]) -> float | None:
    return _deviation(tuple(values)) if len(values) > 1 else None


@lru_cache(maxsize=10_000)
def _deviation(values: tuple[float, ...]) -> float:
    """Return the sample standard deviation: exact, so slow, and a report asks several times."""
    return stdev(values)
