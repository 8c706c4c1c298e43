"""How trials came out, which one of each method won, and how winners do on the test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import fmean
from typing import Any

from curvetune.analysis.significance import Paired, Unit, compare, corrected
from curvetune.config import CellConfig
from curvetune.grids.cells import ACCURACY, Select
from curvetune.grids.labels import Setting, setting_of
from curvetune.store import CellStore
from curvetune.tuning.contest import Tuned, Tuning
from curvetune.tuning.outcomes import Outcomes, Trial


@dataclass(frozen=True)
class Searched:
    """A method with its trials, the default first, and how they came out."""

    tuned: Tuned
    outcomes: Outcomes

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Its trials."""
        return self.outcomes.trials

    @property
    def seconds(self) -> float:
        """What its trials took of devices, with the probes that they read."""
        return self.outcomes.seconds

    @property
    def ended(self) -> int:
        """How many trials ran to their end."""
        return sum(trial.accuracy is not None and not trial.has_diverged for trial in self.trials)

    @cached_property
    def best(self) -> int:
        """Which trial has the highest accuracy of those that ran to their end.

        Of several the first one, and so the default.
        """
        return max(range(len(self.trials)), key=lambda k: (self._accuracy(k), -k))

    @property
    def winner(self) -> Trial:
        """That trial."""
        return self.trials[self.best]

    @property
    def distinct(self) -> int:
        """How many trials differ: ranges of few values have fewer than there are trials."""
        own = self.tuned.cells[0].method
        default = {option: getattr(own, option) for option in self.tuned.ranges}
        return len({repr({**default, **trial.options}) for trial in self.trials})

    @property
    def best_so_far(self) -> list[float]:
        """The best accuracy after each trial; those that were stopped do not count."""
        return list(accumulate((self._accuracy(k) for k in range(len(self.trials))), max))

    def _accuracy(self, k: int) -> float:
        accuracy = self.trials[k].accuracy
        return -1.0 if accuracy is None else accuracy


@dataclass(frozen=True)
class Result:
    """A method on the test set: what was found against the default."""

    searched: Searched
    paired: Paired | None  # None if the default won
    default: float | None  # mean accuracy in percent; None if no cell is done
    tuned: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        one, paired = self.searched, self.paired
        low, high = (None, None) if paired is None else (paired.interval or (None, None))
        return {
            "method": one.tuned.method,
            "tunable": sorted(one.tuned.ranges),
            "trials": [
                {
                    "options": t.options,
                    "validation": t.accuracy,
                    "diverged": t.has_diverged,
                    "stopped": t.is_stopped,
                    "rungs": [{"epochs": e, "validation": value} for e, value in t.rungs.items()],
                }
                for t in one.trials
            ],
            "trials_ended": one.ended,
            "device_seconds": one.seconds,
            "best_trial": one.best,
            "best_so_far": one.best_so_far,
            "options": one.winner.options,
            "default": self.default,
            "tuned": self.tuned,
            "difference": None if paired is None else paired.difference,
            "low": low,
            "high": high,
            "pairs": 0 if paired is None else paired.n,
            "p": None if paired is None else paired.p,
            "p_holm": None if paired is None else paired.p_holm,
            "holds": paired is not None and paired.holds,
        }


def results_of(
    tuning: Tuning,
    searched: Sequence[Searched],
    store: CellStore,
    *,
    select: Select = "last",
    unit: Unit = "pair",
) -> list[Result]:
    """Return how each method does on the test set, with p values corrected for the methods."""
    found = [_result_of(tuning, one, store, select, unit) for one in searched]
    paired = [result.paired for result in found if result.paired is not None]
    after = iter(corrected(paired))
    return [
        result
        if result.paired is None
        else Result(result.searched, next(after), result.default, result.tuned)
        for result in found
    ]


def _result_of(
    tuning: Tuning, one: Searched, store: CellStore, select: Select, unit: Unit
) -> Result:
    default, won = (
        _scores(tuning, tuning.test(one.tuned, options), store, select)
        for options in ({}, one.winner.options)
    )
    means = [fmean(scores.values()) if scores else None for scores in (default, won)]
    if one.best == 0:
        return Result(one, None, *means)
    method = one.tuned.method
    wanted = len(tuning.test(one.tuned, {})) if unit == "pair" else None
    paired = compare(method, f"{method} tuned", default, won, wanted, unit)
    return Result(one, paired, *means)


def _scores(
    tuning: Tuning, cells: Sequence[CellConfig], store: CellStore, select: Select
) -> dict[tuple[Setting, int], float]:
    found = {}
    for cell in cells:
        result = store.result(cell.cell_id(tuning.digest))
        if result is not None:
            setting = setting_of(cell.model_dump(mode="json"))
            found[(setting, cell.seed)] = float(result[ACCURACY[select]])
    return found
