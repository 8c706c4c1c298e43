"""The interval of a mean difference over settings, each with seeds: a hierarchical bootstrap.

Pairs of one setting share it. Eight pairs of four settings say what the four settings say, and how
sure each of them is. So settings are drawn first, with replacement, and then seeds in each of them.

Few settings make the percentile interval too narrow: it has a standard error that is smaller by
sqrt((k - 1)/k), and quantiles of a normal distribution. The percentiles here are those that make
up for both (Hesterberg's expanded percentile interval).

Source: S. Saravanan, G. Berman and S. Sober, "Application of the hierarchical bootstrap to
multi-level data in neuroscience", NBDT 2020, https://arxiv.org/abs/2007.07797; T. Hesterberg, "What
teachers should know about the bootstrap", The American Statistician 69, 2015, section 3.3.
"""

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.quantiles import expanded_tail

DRAWS = 10_000
FEWEST = 3  # settings
SEED = 0  # of the draws: a table is the same whenever it is printed

S = TypeVar("S", bound=Hashable)


def by_setting(differences: Mapping[tuple[S, int], float]) -> list[list[float]]:
    """Return the differences of each setting, in the order of the settings."""
    groups: dict[S, list[float]] = {}
    for (setting, _), value in differences.items():
        groups.setdefault(setting, []).append(value)
    return list(groups.values())


def hierarchical_interval(
    groups: Sequence[Sequence[float]], *, draws: int = DRAWS
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean over settings of `groups`; None of too few settings.

    Args:
        groups: of each setting its seeds' differences, at least one.
    """
    if len(groups) < FEWEST:
        return None
    tail = expanded_tail(len(groups))
    low, high = np.quantile(_means(groups, draws), (tail, 1.0 - tail))
    return float(low), float(high)


def _means(groups: Sequence[Sequence[float]], draws: int) -> NDArray[np.float64]:
    """Return the mean of each of `draws` grids that are drawn from this one."""
    values = np.concatenate([np.asarray(group, np.float64) for group in groups])
    means: NDArray[np.float64] = _shares(tuple(map(len, groups)), draws) @ values
    return means


@functools.lru_cache(maxsize=4)
def _shares(sizes: tuple[int, ...], draws: int) -> NDArray[np.float64]:
    """Return the share of each value in the mean of each drawn grid, (draws, sum of `sizes`).

    All comparisons of a table have the same settings and seeds, so these are drawn once.
    """
    random = np.random.default_rng(SEED)
    k = len(sizes)
    chosen = random.integers(k, size=(draws, k))
    shares = np.empty((draws, sum(sizes)))
    begin = 0
    for index, size in enumerate(sizes):
        grids, _ = np.nonzero(chosen == index)
        picked = random.integers(size, size=(len(grids), size))
        times = np.bincount((grids[:, None] * size + picked).ravel(), minlength=draws * size)
        # that often added, one by one: a product would be another number in its last bit
        sums = np.add.accumulate(np.full(times.max(initial=0) + 1, 1 / (size * k)))
        shares[:, begin : begin + size] = np.append(0.0, sums)[times].reshape(draws, size)
        begin += size
    return shares
