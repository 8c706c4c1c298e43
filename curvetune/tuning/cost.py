"""What a search costs less than its price says, since trials are stopped or time is the budget."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from curvetune.system.units import duration
from curvetune.tuning.contest import Tuned, Tuning
from curvetune.tuning.outcomes import rungs_of
from curvetune.tuning.proposals import ROUND
from curvetune.tuning.rungs import goals

DRAWS = 32  # of the orders in which trials may come out
MOST_DRAWN = 200  # trials; of more the share is the same


def share_of_epochs(tuning: Tuning, trials: Sequence[tuple[Tuned, int]]) -> float:
    """Return which share of all epochs a scheduler runs, if what is found comes in any order.

    Args:
        trials: how many each method has.
    """
    whole = spent = 0.0
    for tuned, count in trials:
        epochs = [sum(rung) for rung in rungs_of(tuning, tuned)]
        whole += count * epochs[-1]
        spent += count * _mean_epochs(min(count, MOST_DRAWN), epochs, tuning.reduction)
    return spent / whole


def cost_lines(tuning: Tuning, share: float) -> list[str]:
    """Return what there is to say beside the price of a search, which is that of whole trials."""
    lines = []
    if tuning.scheduler != "none":
        lines.append(
            f"{tuning.scheduler}: about {100 * share:.0f} % of these epochs are run, if trials "
            f"come out in any order; the price is that of all"
        )
    if tuning.seconds is not None:
        lines.append(
            f"these are the first trials alone: each method goes on, {ROUND} trials at a time, "
            f"until it has used {duration(tuning.seconds)} of a device"
        )
    return lines


def _mean_epochs(count: int, epochs: Sequence[int], reduction: int) -> float:
    """Return the epochs that a trial runs on average."""
    draws = np.random.default_rng(0)

    def drawn() -> float:
        order = draws.permutation(count)
        aims = goals(count, len(epochs), reduction, lambda trial, _: float(order[trial]))
        return fmean(epochs[aim] for aim in aims)

    return fmean(drawn() for _ in range(DRAWS))
