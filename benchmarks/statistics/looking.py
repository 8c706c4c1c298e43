"""How often `decide` is wrong, looking after every seed, and how many seeds it takes.

    python -m benchmarks.statistics.looking [--grids 2000]

A grid has four settings, of which one seed's difference has a spread of 0.5, 1, 2 and 4 points. It
is looked at after every seed, up to 100. A decision is wrong if it says better, worse or within the
margin, and that is not so.
"""

import argparse
import statistics

import numpy as np

from benchmarks.statistics.false_alarms import SPREADS
from benchmarks.timing import append
from curvetune.analysis.decide import Standing

LONGEST = 100  # seeds
CASES = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (1.0, 0.0), (2.0, 0.0))  # true, margin


def one_grid(random: np.random.Generator, true: float, margin: float) -> tuple[str, int]:
    """Return the decision on a simulated grid, and after how many seeds."""
    noise = SPREADS[:, None] * random.standard_normal((len(SPREADS), LONGEST))
    values = (noise.mean(axis=0) + true).tolist()
    for n in range(2, LONGEST + 1):
        now = Standing("a", "b", tuple(range(n)), tuple(values[:n]), margin)
        if now.verdict != "open":
            return now.verdict, n
    return "open", LONGEST


def is_wrong(verdict: str, true: float, margin: float) -> bool:
    """Say whether a decision is not so."""
    right = {
        "better": true > 0,
        "worse": true < 0,
        "within the margin": abs(true) < margin,
        "open": True,
    }
    return not right[verdict]


def main() -> None:
    """Print a row for each case, and append it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grids", type=int, default=2000)
    grids, rows = parser.parse_args().grids, []
    for true, margin in CASES:
        random = np.random.default_rng(0)
        ended = [one_grid(random, true, margin) for _ in range(grids)]
        wrong = 100 * sum(is_wrong(verdict, true, margin) for verdict, _ in ended) / grids
        decided = [n for verdict, n in ended if verdict != "open"]
        share = 100 * len(decided) / grids
        low, median, high = statistics.quantiles(decided or [0, 0], n=4)
        print(
            f"true {true:3} margin {margin:3}: wrong {wrong:5.2f} %, decided {share:5.1f} %, "
            f"after {median:.0f} seeds ({low:.0f} to {high:.0f})"
        )
        rows.append(
            {
                "benchmark": "looking",
                "case": f"true difference {true} points, margin {margin}; up to {LONGEST} seeds",
                "n": grids,
                "wrong_percent": f"{wrong:.2f}",
                "decided_percent": f"{share:.1f}",
                "seeds_lower_quartile": f"{low:.0f}",
                "seeds_median": f"{median:.0f}",
                "seeds_upper_quartile": f"{high:.0f}",
            }
        )
    append(rows)


if __name__ == "__main__":
    main()
