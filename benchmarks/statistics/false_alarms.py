"""How often each test finds a difference where there is none.

    python -m benchmarks.statistics.false_alarms [--grids 2000]

A simulated grid has four settings, whose spread over seeds is 0.5, 1, 2 and 4 points: a hard
setting is a noisy one. It has no difference between its two methods, in one of two senses:

    in no setting     the methods are equal in each
    on average        in each setting one of the two is better, by a normal draw of 2 points; over
                      all settings that there could be, neither is

A test that asks about the settings of this grid must hold in the first sense. One that asks about
settings in general must hold in both.
"""

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import append
from curvetune.analysis.bootstrap import hierarchical_interval
from curvetune.analysis.sequence import sequence_interval
from curvetune.analysis.signed_rank import signed_rank
from curvetune.analysis.statistics import t_interval

SPREADS = np.array([0.5, 1.0, 2.0, 4.0])
BETWEEN = {"in no setting": 0.0, "on average": 2.0}
SEEDS = (2, 3, 5, 10)
LEVEL = 0.05
WIDE = (-1e9, 1e9)  # simulated differences are not of accuracies, which end at 100
Grid = NDArray[np.float64]  # (settings, seeds) of differences, in points


def excludes_zero(interval: tuple[float, float] | None) -> bool:
    return interval is not None and not interval[0] <= 0.0 <= interval[1]


def below(p: float | None) -> bool:
    return p is not None and p < LEVEL


def ever(grid: Grid) -> bool:
    """Say whether the sequence ever excludes zero, looked at after every seed."""
    values = grid.mean(axis=0).tolist()
    return any(excludes_zero(sequence_interval(values[:n])) for n in range(2, len(values) + 1))


TESTS: Mapping[str, Callable[[Grid], bool]] = {
    "signed rank, pairs": lambda g: below(signed_rank(g.ravel().tolist())),
    "signed rank, settings": lambda g: below(signed_rank(g.mean(axis=1).tolist())),
    "interval over pairs (t)": lambda g: excludes_zero(t_interval(g.ravel().tolist(), within=WIDE)),
    "hierarchical bootstrap": lambda g: excludes_zero(
        hierarchical_interval(g.tolist(), draws=2000)
    ),
    "sequence, looked at after every seed": ever,
}


def simulated(random: np.random.Generator, seeds: int, between: float) -> Grid:
    """Return the differences of one grid, (settings, seeds)."""
    of_settings = between * random.standard_normal((len(SPREADS), 1))
    return of_settings + SPREADS[:, None] * random.standard_normal((len(SPREADS), seeds))


def main() -> None:
    """Print the share of false alarms of each test, and append it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grids", type=int, default=2000)
    grids = parser.parse_args().grids
    rows = []
    for sense, between in BETWEEN.items():
        for seeds in SEEDS:
            random = np.random.default_rng(seeds)
            alarms = dict.fromkeys(TESTS, 0)
            for _ in range(grids):
                grid = simulated(random, seeds, between)
                for name, test in TESTS.items():
                    alarms[name] += test(grid)
            for name, count in alarms.items():
                rate = 100 * count / grids
                print(f"{sense:14} {seeds:2} seeds  {name:38} {rate:5.2f} %")
                rows.append(
                    {
                        "benchmark": "false_alarms",
                        "case": f"{name}; no difference {sense}; 4 settings, {seeds} seeds",
                        "n": grids,
                        "percent": f"{rate:.2f}",
                    }
                )
    append(rows)


if __name__ == "__main__":
    main()
