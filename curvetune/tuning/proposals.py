"""Which trials a method has had, and its next ones.

What was proposed once is in the storage, and stays. Random trials and those of a grid depend on
nothing that was found, so all are proposed at once. Optuna's depend on what was found: they are
proposed in rounds, whose beginning does not depend on the budget. So 20 trials and then 10 more are
the same as 30.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curvetune.config.tunable import Choice, LogUniform, Range, Ranges
from curvetune.errors import ConfigError
from curvetune.seeding import numpy_stream
from curvetune.store.tunings import read_trials, write_trials
from curvetune.tuning.contest import Tuned, Tuning
from curvetune.tuning.outcomes import WORST, Trial
from curvetune.tuning.trials import Options, grid_trials, random_trial

ROUND = 4  # trials of a method that Optuna proposes without knowing how the others came out


def rounds(tuning: Tuning) -> list[int]:
    """Return how many trials of a method there are after each round, the last one's last."""
    if tuning.search != "optuna" and tuning.seconds is None:
        return [tuning.budget]
    return [*range(ROUND, tuning.budget, ROUND), tuning.budget]


def proposed(
    tuning: Tuning,
    tuned: Tuned,
    count: int,
    storage: Path,
    found: Sequence[Trial] = (),
    *,
    keep: bool = True,
) -> list[Options]:
    """Return the first trials of a method, fewer if its ranges have no more points.

    Args:
        count: how many.
        found: how the first ones came out, all before the round of the last.
        keep: whether they are kept in the storage.

    Raises:
        ConfigError: Optuna is needed and not installed.
        CorruptError: the storage's file is damaged.
    """
    identity = tuning.identity(tuned)
    known = read_trials(storage, identity)
    if not tuned.ranges:
        trials: list[Options] = [{}]
    elif len(known) >= count:
        trials = known
    elif tuning.search == "optuna":
        trials = _asked(tuning, tuned, known, count, found)
    else:
        trials = known + _drawn(tuning, tuned, count)[len(known) :]
    if keep and len(trials) > len(known):
        write_trials(storage, identity, trials)
    return trials[:count]


def expected(tuning: Tuning, tuned: Tuned, storage: Path) -> list[Options]:
    """Return as many trials as the budget says, for a price: what nobody knows yet is drawn.

    Of a budget in seconds they are the first round, or those that there are.
    """
    known = read_trials(storage, tuning.identity(tuned))
    count = tuning.budget if tuning.seconds is None else max(ROUND, len(known))
    if tuning.search == "optuna" and tuned.ranges:
        return (known + _drawn(tuning, tuned, count)[len(known) :])[:count]
    return proposed(tuning, tuned, count, storage, keep=False)


def _drawn(tuning: Tuning, tuned: Tuned, count: int) -> list[Options]:
    if tuning.search == "grid":
        own = tuned.cells[0].method
        default = {option: getattr(own, option) for option in tuned.ranges}
        others = (point for point in grid_trials(tuned.ranges) if point != default)
        return [{}, *itertools.islice(others, count - 1)]
    draws = (random_trial(tuned.ranges, tuning.seed, tuned.method, k) for k in range(1, count))
    return [{}, *draws]


def _asked(
    tuning: Tuning, tuned: Tuned, known: Sequence[Options], count: int, found: Sequence[Trial]
) -> list[Options]:
    """Return the first trials, the last ones as Optuna proposes them after those before its round.

    Args:
        known: the first trials, at least those before the round.
    """
    optuna = _optuna()
    begin = (count - 1) // ROUND * ROUND
    default = {option: getattr(tuned.cells[0].method, option) for option in tuned.ranges}
    ranges = {option: _distribution(optuna, one) for option, one in tuned.ranges.items()}
    stream = numpy_stream(tuning.seed, f"tune.{tuned.method}.optuna.{begin}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant_liar, that it may change
        sampler = optuna.samplers.TPESampler(seed=int(stream.integers(2**32)), constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for options, trial in zip(known[:begin], found[:begin], strict=True):
        values = options or default
        if all(tuned.ranges[option].has(value) for option, value in values.items()):
            study.add_trial(_told(optuna, trial, values, ranges))
    trials: list[Options] = [] if begin else [{}]
    while begin + len(trials) < count:
        asked = study.ask(ranges).params
        trials.append({option: _plain(tuned.ranges, option, asked) for option in ranges})
    return [*known, *trials[len(known) - begin :]]


def _told(optuna: Any, trial: Trial, values: Options, ranges: Mapping[str, Any]) -> Any:
    """Return a trial in Optuna's words: one that was stopped is pruned, with what it came to."""
    state = optuna.trial.TrialState.PRUNED if trial.is_stopped else None
    value = None if trial.is_stopped else WORST if trial.accuracy is None else trial.accuracy
    return optuna.trial.create_trial(
        params=values,
        distributions=ranges,
        value=value,
        intermediate_values=dict(trial.rungs),
        **({} if state is None else {"state": state}),
    )


def _plain(ranges: Ranges, option: str, asked: dict[str, Any]) -> Any:
    """Return a value that Optuna proposes, with as many digits as others have."""
    found, value = ranges[option], asked[option]
    return value if isinstance(found, Choice) else found.rounded(value)


def _distribution(optuna: Any, found: Range) -> Any:
    if isinstance(found, Choice):
        return optuna.distributions.CategoricalDistribution(found.values)
    is_log = isinstance(found, LogUniform)
    return optuna.distributions.FloatDistribution(found.low, found.high, log=is_log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "--search optuna needs Optuna, which is not installed: pip install "
            "'curvetune[optuna]'; allowed without it are --search random and grid"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
