"""Is one method better than another, or is it luck? A paired comparison of two sets of cells.

A pair is one setting and one seed that both have: the same images, labels and meta set. The p value
is Wilcoxon's signed-rank test, two-sided and exact (signed_rank.py). Demšar, "Statistical
comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.1.3, prefers it to the
paired t test, since differences over settings are of different sizes and have outliers: where a
method collapses it loses by 40 points. Several comparisons are corrected after Holm (section 3.2.2
there).

The interval is Student's of the mean difference, which is the difference of two MAs. The two can
disagree; then few pairs decide, and neither method is called the better one. Pairs of one setting
are not drawn from all settings there are: a p value is of the settings of this grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TypeVar

from curvetune.analysis.signed_rank import direction, num_differing, signed_rank
from curvetune.analysis.statistics import DIFFERENCES, t_interval

K = TypeVar("K")
LEVEL = 0.05
Scores = Mapping[K, float]


@dataclass(frozen=True)
class Paired:
    """How far `b` is above `a`, in points, over the pairs that both have."""

    a: str
    b: str
    n: int  # pairs
    wanted: int  # pairs that the grid has cells for
    mean_a: float | None  # over the pairs
    mean_b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None  # None of fewer than two pairs
    differing: int  # pairs whose difference is not 0, which alone decide p
    direction: int  # 1 if the test is for b, -1 if for a, 0 if for neither
    p_holm: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p value is below 5 %."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def is_divided(self) -> bool:
        """Whether p is significant, but of another direction than the mean difference."""
        return self.is_significant and self.direction * (self.difference or 0.0) <= 0

    @property
    def better_and_worse(self) -> tuple[str, str] | None:
        """The two in this order; None unless p is significant and the mean agrees with it."""
        if not self.is_significant or self.is_divided:
            return None
        return (self.b, self.a) if self.direction > 0 else (self.a, self.b)


def compare(a: str, b: str, of_a: Scores[K], of_b: Scores[K], wanted: int | None = None) -> Paired:
    """Return the comparison of `b` with `a` over the keys of both, uncorrected."""
    common = [key for key in of_a if key in of_b]
    differences = [of_b[key] - of_a[key] for key in common]
    return Paired(
        a=a,
        b=b,
        n=len(common),
        wanted=len(common) if wanted is None else wanted,
        mean_a=fmean(of_a[key] for key in common) if common else None,
        mean_b=fmean(of_b[key] for key in common) if common else None,
        difference=fmean(differences) if common else None,
        interval=t_interval(differences, within=DIFFERENCES),
        p=signed_rank(differences),
        differing=num_differing(differences),
        direction=direction(differences),
    )


def corrected(comparisons: Sequence[Paired]) -> list[Paired]:
    """Return `comparisons` with their p values corrected after Holm, in the same order."""
    from dataclasses import replace

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


def against(reference: str, methods: Mapping[str, Scores[K]], wanted: int) -> list[Paired]:
    """Return every other method compared with `reference`, corrected for their number."""
    others = [name for name in methods if name != reference]
    return corrected(
        [compare(reference, name, methods[reference], methods[name], wanted) for name in others]
    )


def all_pairs(methods: Mapping[str, Scores[K]], wanted: int) -> list[Paired]:
    """Return every two methods compared, corrected for the number of such pairs."""
    return corrected(
        [compare(a, b, methods[a], methods[b], wanted) for a, b in combinations(methods, 2)]
    )
