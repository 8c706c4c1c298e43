"""Which options a trial has. Trial 0 is the default, so these begin with 1."""

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

from curvetune.config.tunable import Ranges
from curvetune.seeding import numpy_stream

Options: TypeAlias = dict[str, Any]


def random_trial(ranges: Ranges, seed: int, method: str, k: int) -> Options:
    """Return the options of the k-th trial: a function of these four alone.

    Every option has a stream of its own, so that one more option moves no other.
    """
    return {
        option: found.at(float(numpy_stream(seed, f"tune.{method}.{k}.{option}").random()))
        for option, found in ranges.items()
    }


def grid_trials(ranges: Ranges) -> Iterator[Options]:
    """Yield the points of a grid that grows finer: all with the ends, then the middles and so on.

    What comes first does not depend on how many are asked for. Without ranges of numbers it ends.
    """
    for finest in itertools.count():
        points = [
            {option: found.level(k) for (option, found), k in zip(ranges.items(), ks, strict=True)}
            for ks in itertools.product(range(finest + 1), repeat=len(ranges))
            if max(ks) == finest
        ]
        points = [point for point in points if None not in point.values()]
        if not points:
            return
        yield from points
