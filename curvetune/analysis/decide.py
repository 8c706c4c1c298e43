"""Which of two methods is better, as far as the seeds so far can say, and how long that may take.

A value is one seed's difference of two methods, averaged over the settings of a grid. After each
seed there is a verdict. All verdicts together are wrong with a chance of at most 5 %, whenever one
stops (sequence.py).
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from curvetune.analysis.seeds_needed import MOST, seeds_needed
from curvetune.analysis.sequence import sequence_interval

Verdict = Literal["better", "worse", "within the margin", "open"]


@dataclass(frozen=True)
class Standing:
    """How `b` stands against `a` after some seeds, in points of accuracy."""

    a: str
    b: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]  # of each seed: `b` less `a`
    margin: float

    @property
    def mean(self) -> float | None:
        """The mean difference."""
        return fmean(self.differences) if self.differences else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that holds however often one looks; None where it is still unbounded."""
        return sequence_interval(self.differences)

    @property
    def verdict(self) -> Verdict:
        """What is known: whether `b` is better, worse, or no more than the margin away."""
        if self.interval is None:
            return "open"
        low, high = self.interval
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return "within the margin" if -self.margin <= low and high <= self.margin else "open"

    @property
    def expected(self) -> int | None:
        """How many seeds in all a test would need for the difference as it is now."""
        return seeds_needed(self.differences)

    def words(self) -> str:
        """Return the verdict as a sentence."""
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}"
        if self.mean is None:
            return f"{self.b} against {self.a}: no seed has all settings of both"
        between = (
            "any difference is possible still"
            if self.interval is None
            else f"{self.interval[0]:+.2f} to {self.interval[1]:+.2f}"
        )
        said = {
            "better": f"{self.b} is better than {self.a}",
            "worse": f"{self.b} is worse than {self.a}",
            "within the margin": f"{self.b} is within {self.margin:g} points of {self.a}"
            if self.margin
            else f"{self.b} equals {self.a}",
            "open": f"{self.b} against {self.a} is open",
        }[self.verdict]
        return f"{said}: {self.mean:+.2f} points over {seeds} ({between})"

    def outlook(self) -> str:
        """Return how many seeds an open question may take, as far as one can say."""
        if self.expected is None:
            return ""
        if self.expected > MOST:
            return f"more than {MOST} seeds would be needed, if the difference is what it is now"
        return f"about {self.expected} seeds are needed, if the difference is what it is now"
