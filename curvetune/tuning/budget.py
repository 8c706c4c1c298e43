"""How much a method may try: a number of trials, or time of devices."""

import math
import re

from curvetune.config.tunable import Choice
from curvetune.errors import ConfigError, printable
from curvetune.planning.options import parse_time
from curvetune.tuning.contest import MOST_TRIALS, Budget, Tuning
from curvetune.tuning.proposals import ROUND, rounds
from curvetune.tuning.scores import Searched

LIKELY = 0.8  # of the trials that the time is likely enough for, begun at once


def parse_budget(text: str) -> Budget:
    """Return the budget that "20" (trials) or "30m" (of a device) stands for.

    Raises:
        ConfigError: it stands for none.
    """
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        if int(text) < 1:
            raise ConfigError(f"--budget {int(text)}: allowed is at least 1")
        return Budget(int(text))
    try:
        seconds = parse_time("--budget", text) if text.strip()[-1:].isalpha() else 0.0
    except ConfigError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f"--budget {printable(text)!r}: allowed are a number of trials of each method, or the "
            f"time of a device that each may use, above 0: --budget 20, --budget 900s, 30m or 2h"
        )
    return Budget(MOST_TRIALS, seconds)


def next_count(tuning: Tuning, one: Searched, count: int) -> int:
    """Return how many trials a method is to have now that `count` are over; as many if that is all.

    Time decides after each round, so that the number of trials follows from what is stored.
    """
    if tuning.seconds is not None and (one.seconds >= tuning.seconds or has_all(one, count)):
        return count
    return next((end for end in rounds(tuning) if end > count), count)


def count_ahead(tuning: Tuning, one: Searched, count: int) -> int:
    """Return how many trials to run at once, since the time is likely enough for them.

    What Optuna proposes depends on what was found, so it is asked round by round.
    """
    more = next_count(tuning, one, count)
    if tuning.seconds is None or tuning.search == "optuna" or more == count or not one.seconds:
        return more
    each = one.seconds / len(one.trials)
    likely = int(LIKELY * (tuning.seconds - one.seconds) / each) // ROUND * ROUND
    return min(max(more, count + likely), tuning.budget)


def has_all(one: Searched, count: int) -> bool:
    """Say whether the ranges of a method have no more points than its trials are."""
    ranges = one.tuned.ranges.values()
    if len(one.trials) < count:
        return True
    if not all(isinstance(found, Choice) for found in ranges):
        return False
    return one.distinct >= math.prod(len(r.values) for r in ranges if isinstance(r, Choice))
