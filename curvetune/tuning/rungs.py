"""Which trials go on: asynchronous successive halving, decided in the order of their numbers. Pure.

A rung is a number of epochs. All trials of a method come to the first one. Those that are in the
best 1/eta of a rung go on to the next, and so the last one is the whole training.

The rule is that of Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020
(arXiv 1810.05934), Algorithm 2: whenever a trial has come to a rung, the best floor(n/eta) of the n
that are there are promoted. There trials come in the order in which workers end them. Here it is
the order of their numbers, so that neither the number of workers nor their speed decides anything,
and so that more trials change nothing of what was decided before. Trial 0, which is the default,
goes to the end in any case.
"""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

RUNGS = 3  # at most

Accuracy = Callable[[int, int], float | None]  # of a trial at a rung; NaN: it diverged; None: later


def rung_epochs(epochs: int, reduction: int) -> tuple[int, ...]:
    """Return the epochs of each rung of a training with so many epochs, the last one all of them.

    Two rungs of a short training may be the same (`steps`).
    """
    return tuple(-(-epochs // reduction**k) for k in reversed(range(RUNGS)))


def steps(cells: Sequence[int], reduction: int) -> list[tuple[int, ...]]:
    """Return the rungs of a trial, each with the epochs of every cell; those that differ.

    Args:
        cells: the epochs of each cell.
    """
    rungs = list(zip(*(rung_epochs(epochs, reduction) for epochs in cells), strict=True))
    return [rungs[0], *(after for before, after in pairwise(rungs) if after != before)]


def promoted(scores: Sequence[float | None], reduction: int) -> Iterator[int]:
    """Yield which of those that came to a rung, in their order, are promoted, in that order.

    Args:
        scores: of each; NaN is never promoted, and nothing is known from the first None on.
    """
    ranked: list[tuple[float, int]] = []  # the best first; of equals, the one that came first
    gone: set[int] = set()
    for k, score in enumerate(scores):
        if score is None:
            return
        bisect.insort(ranked, (math.inf if math.isnan(score) else -score, k))
        for rank, one in ranked[: len(ranked) // reduction]:
            if one not in gone and rank < math.inf:
                gone.add(one)
                yield one


def goals(trials: int, rungs: int, reduction: int, accuracy: Accuracy) -> list[int]:
    """Return up to which rung each trial is to go, as far as that can be decided now."""
    found = [0] * trials
    there = list(range(trials))
    for rung in range(rungs - 1):
        known = [accuracy(trial, rung) for trial in there]
        up = [there[k] for k in promoted(known, reduction)]
        if there and there[0] == 0 and not (known[0] is not None and math.isnan(known[0])):
            up = [0, *(trial for trial in up if trial != 0)]
        for trial in up:
            found[trial] = rung + 1
        there = up
    return found
