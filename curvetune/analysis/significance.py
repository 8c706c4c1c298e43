"""Is one method better than another, or is it luck? A paired comparison of two sets of cells.

A pair is one setting and one seed that both have: the same images, labels and meta set. The p value
is Wilcoxon's signed-rank test, two-sided and exact (signed_rank.py). Demšar, "Statistical
comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.1.3, prefers it to the
paired t test, since differences over settings are of different sizes and have outliers: where a
method collapses it loses by 40 points. Several comparisons are corrected after Holm (section 3.2.2
there).

The interval is Student's of the mean difference, which is the difference of two MAs. The two can
disagree; then few pairs decide, and neither method is called the better one.

Pairs of one setting share it. So a p value over pairs is of the settings of this grid. Whether a
difference holds in settings like these is asked in two ways: by the same test over settings, the
seeds of each averaged first, and by a bootstrap over settings and seeds (bootstrap.py). Four
settings allow no p below .125, so pairs are the default. What is marked as better must pass both
the test and the bootstrap.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Literal, TypeAlias, TypeVar

from curvetune.analysis.bootstrap import by_setting, hierarchical_interval
from curvetune.analysis.seeds_needed import seeds_needed
from curvetune.analysis.signed_rank import num_differing, rank_biserial, signed_rank
from curvetune.analysis.statistics import DIFFERENCES, t_interval

S = TypeVar("S", bound=Hashable)  # a setting
LEVEL = 0.05
Scores: TypeAlias = Mapping[tuple[S, int], float]  # by setting and seed
Unit = Literal["pair", "setting"]  # what counts as one experiment


@dataclass(frozen=True)
class Paired:
    """How far `b` is above `a`, in points, over the pairs that both have."""

    a: str
    b: str
    unit: Unit
    n: int  # units that both have
    wanted: int  # units that the grid has cells for
    mean_a: float | None  # over the pairs
    mean_b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None  # None of fewer than two units
    differing: int  # units whose difference is not 0, which alone decide p
    effect: float | None  # the rank-biserial correlation, whose sign is the side the test is on
    settings: tuple[tuple[float, ...], ...] = field(repr=False)  # the differences of each
    seeds: tuple[float, ...] = field(repr=False)  # mean difference of each that has all settings
    p_holm: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p value is below 5 %."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def is_divided(self) -> bool:
        """Whether p is significant, but of another direction than the mean difference."""
        return self.is_significant and (self.effect or 0.0) * (self.difference or 0.0) <= 0

    @property
    def better_and_worse(self) -> tuple[str, str] | None:
        """The two in this order; None unless p is significant and the mean agrees with it."""
        if not self.is_significant or self.is_divided:
            return None
        return (self.b, self.a) if (self.effect or 0.0) > 0 else (self.a, self.b)

    @cached_property
    def over_settings(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference in settings like these; None of too few settings."""
        return hierarchical_interval(self.settings)

    @property
    def is_of_these_settings_only(self) -> bool:
        """Whether the interval over settings leaves open which method is better."""
        low, high = self.over_settings or (1.0, 1.0)
        return low <= 0.0 <= high

    @property
    def holds(self) -> bool:
        """Whether one is better by both, the test and the interval over settings if there is one.

        That is what tables print in bold.
        """
        return self.better_and_worse is not None and not self.is_of_these_settings_only

    @cached_property
    def more_seeds(self) -> int | None:
        """How many more seeds would show such a difference with a power of .8, by a paired t test.

        None of too few to say. More than `seeds_needed.MOST` is one more than that.
        """
        needed = seeds_needed(self.seeds)
        return None if needed is None else max(0, needed - len(self.seeds))


def compare(
    a: str,
    b: str,
    of_a: Scores[S],
    of_b: Scores[S],
    wanted: int | None = None,
    unit: Unit = "pair",
) -> Paired:
    """Return the comparison of `b` with `a` over the keys of both, uncorrected.

    Args:
        wanted: how many units there should be; those that there are unless given.
    """
    pairs = {key: of_b[key] - of_a[key] for key in of_a if key in of_b}
    settings = by_setting(pairs)
    units = [fmean(values) for values in settings] if unit == "setting" else [*pairs.values()]
    return Paired(
        a=a,
        b=b,
        unit=unit,
        n=len(units),
        wanted=len(units) if wanted is None else wanted,
        mean_a=fmean(of_a[key] for key in pairs) if pairs else None,
        mean_b=fmean(of_b[key] for key in pairs) if pairs else None,
        difference=fmean(units) if pairs else None,
        interval=t_interval(units, within=DIFFERENCES),
        p=signed_rank(units),
        differing=num_differing(units),
        effect=rank_biserial(units),
        settings=tuple(map(tuple, settings)),
        seeds=_by_seed(pairs, len(settings)),
    )


def _by_seed(pairs: Mapping[tuple[S, int], float], num_settings: int) -> tuple[float, ...]:
    """Return the mean difference of each seed that has all settings."""
    found: dict[int, list[float]] = {}
    for (_, seed), value in pairs.items():
        found.setdefault(seed, []).append(value)
    return tuple(fmean(values) for values in found.values() if len(values) == num_settings)


def corrected(comparisons: Sequence[Paired]) -> list[Paired]:
    """Return `comparisons` with their p values corrected after Holm, in the same order."""
    adjusted = holm([one.p for one in comparisons])
    return [replace(one, p_holm=p) for one, p in zip(comparisons, adjusted, strict=True)]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number; None stays None and does not count.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6, 1979.
    """
    known = sorted((p, k) for k, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[k] = highest
    return adjusted


def against(
    reference: str, methods: Mapping[str, Scores[S]], wanted: int, unit: Unit = "pair"
) -> list[Paired]:
    """Return every other method compared with `reference`, corrected for their number."""
    base = methods[reference]
    others = [name for name in methods if name != reference]
    return corrected(
        [compare(reference, name, base, methods[name], wanted, unit) for name in others]
    )


def all_pairs(methods: Mapping[str, Scores[S]], wanted: int, unit: Unit = "pair") -> list[Paired]:
    """Return every two methods compared, corrected for the number of such pairs."""
    return corrected(
        [compare(a, b, methods[a], methods[b], wanted, unit) for a, b in combinations(methods, 2)]
    )
