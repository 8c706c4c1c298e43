"""Which trials a method has had, and its next ones.

What was proposed once is in the storage, and stays. Random trials and those of a grid depend on
nothing that was found, so all are proposed at once. Optuna's depend on what was found: they are
proposed in rounds, whose beginning does not depend on the budget. So 20 trials and then 10 more are
the same as 30.
"""

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curvetune.config.tunable import Choice, LogUniform, Range, Ranges
from curvetune.errors import ConfigError
from curvetune.seeding import numpy_stream
from curvetune.store.tunings import read_trials, write_trials
from curvetune.tuning.contest import Tuned, Tuning
from curvetune.tuning.trials import Options, grid_trials, random_trial

ROUND = 4  # trials of a method that Optuna proposes without knowing how the others came out


def rounds(tuning: Tuning) -> list[int]:
    """Return how many trials of each method there are after each round, the last one's last."""
    if tuning.search != "optuna":
        return [tuning.budget]
    return [*range(ROUND, tuning.budget, ROUND), tuning.budget]


def proposed(
    tuning: Tuning,
    tuned: Tuned,
    count: int,
    storage: Path,
    found: Sequence[float] = (),
    *,
    keep: bool = True,
) -> list[Options]:
    """Return the first trials of a method, fewer if its ranges have no more points.

    Args:
        count: how many.
        found: accuracies of the first ones, in percent, of all before the round of the last.
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
    """Return as many trials as the budget says, for a price: what nobody knows yet is drawn."""
    if tuning.search == "optuna" and tuned.ranges:
        known = read_trials(storage, tuning.identity(tuned))
        return (known + _drawn(tuning, tuned, tuning.budget)[len(known) :])[: tuning.budget]
    return proposed(tuning, tuned, tuning.budget, storage, keep=False)


def _drawn(tuning: Tuning, tuned: Tuned, count: int) -> list[Options]:
    if tuning.search == "grid":
        own = tuned.cells[0].method
        default = {option: getattr(own, option) for option in tuned.ranges}
        others = (point for point in grid_trials(tuned.ranges) if point != default)
        return [{}, *itertools.islice(others, count - 1)]
    draws = (random_trial(tuned.ranges, tuning.seed, tuned.method, k) for k in range(1, count))
    return [{}, *draws]


def _asked(
    tuning: Tuning, tuned: Tuned, known: Sequence[Options], count: int, found: Sequence[float]
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
    for options, accuracy in zip(known[:begin], found[:begin], strict=True):
        values = options or default
        if all(tuned.ranges[option].has(value) for option, value in values.items()):
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=ranges, value=accuracy)
            )
    trials: list[Options] = [] if begin else [{}]
    while begin + len(trials) < count:
        asked = study.ask(ranges).params
        trials.append({option: _plain(tuned.ranges, option, asked) for option in ranges})
    return [*known, *trials[len(known) - begin :]]


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
