"""Means and spreads over a grid: what becomes of the accuracies of its cells.

MA of a method = unweighted mean over the grid's bias settings of the cell accuracy, each setting
first averaged over seeds (paper, section "Results on CIFAR"). Nothing is averaged over a hole: MA
is known only where every setting has at least one seed done.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeVar

S = TypeVar("S", bound=Hashable)  # a bias setting; scores are (setting, seed) -> accuracy


@dataclass(frozen=True)
class Mean:
    """A mean with the sample standard deviation over seeds; None where it is not known."""

    mean: float | None
    std: float | None


def mean_accuracy(settings: Sequence[S], scores: Mapping[tuple[S, int], float]) -> Mean:
    """Return the MA over `settings`, and its spread over the seeds that have all of them."""
    groups = _by_setting(scores)
    if not settings or any(setting not in groups for setting in settings):
        return Mean(None, None)
    seeds = dict.fromkeys(seed for _, seed in scores)
    whole = [s for s in seeds if all((setting, s) in scores for setting in settings)]
    per_seed = [fmean(scores[setting, seed] for setting in settings) for seed in whole]
    return Mean(fmean(fmean(groups[setting]) for setting in settings), _spread(per_seed))


def accuracy_so_far(settings: Sequence[S], scores: Mapping[tuple[S, int], float]) -> float | None:
    """Return the mean over those `settings` that have a seed done: for watching, not comparing."""
    groups = _by_setting(scores)
    known = [fmean(groups[setting]) for setting in settings if setting in groups]
    return fmean(known) if known else None


def over_seeds(setting: S, scores: Mapping[tuple[S, int], float]) -> Mean:
    """Return mean and spread of one setting over the seeds that are done."""
    values = _by_setting(scores).get(setting, [])
    return Mean(fmean(values) if values else None, _spread(values))


def _by_setting(scores: Mapping[tuple[S, int], float]) -> dict[S, list[float]]:
    groups: dict[S, list[float]] = {}
    for (setting, _), value in scores.items():
        groups.setdefault(setting, []).append(value)
    return groups


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
