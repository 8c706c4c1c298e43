"""Which trials go on: against a simulation that follows Algorithm 2 of ASHA word for word."""

import math
import random

import pytest

from curvetune.tuning.rungs import goals, promoted, rung_epochs, steps


def test_the_rungs_are_a_ninth_a_third_and_all_of_the_epochs_rounded_up() -> None:
    assert rung_epochs(300, 3) == (34, 100, 300)
    assert rung_epochs(12, 2) == (3, 6, 12)
    assert rung_epochs(2, 3) == (1, 1, 2)


def test_rungs_that_are_the_same_are_one() -> None:
    assert steps([300, 300], 3) == [(34, 34), (100, 100), (300, 300)]
    assert steps([2], 3) == [(1,), (2,)]
    assert steps([1, 1], 3) == [(1, 1)]
    assert steps([2, 30], 3) == [(1, 4), (1, 10), (2, 30)]


def simulated(scores: list[list[float]], reduction: int) -> list[int]:
    """One worker, whose jobs end at once: Algorithm 2, with the default promoted in any case.

    `get_job` looks from the highest rung down for a trial that can be promoted, and begins a new
    one if there is none. Here trials come to the lowest rung in the order of their numbers.
    """
    rungs = len(scores[0])
    there: list[list[int]] = [[] for _ in range(rungs)]
    gone: list[set[int]] = [set() for _ in range(rungs)]
    for new in range(len(scores)):
        there[0].append(new)
        while True:
            job = None
            for k in reversed(range(rungs - 1)):
                ranked = sorted(
                    (t for t in there[k] if not math.isnan(scores[t][k])),
                    key=lambda t, k=k: -scores[t][k],  # type: ignore[misc]
                )
                best = ranked[: len(there[k]) // reduction]
                can = [t for t in [0, *best] if t in there[k] and t not in gone[k]]
                can = [t for t in can if not math.isnan(scores[t][k])]
                if can:
                    job = can[0], k
                    break
            if job is None:
                break
            trial, k = job
            gone[k].add(trial)
            there[k + 1].append(trial)
    return [max(k for k in range(rungs) if t in there[k]) for t in range(len(scores))]


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_it_is_the_published_rule_with_trials_in_the_order_of_their_numbers(
    reduction: int,
) -> None:
    draw = random.Random(reduction)
    for count in (1, 2, 3, 7, 20, 41):
        for _ in range(20):
            scores = [[draw.choice([draw.random(), math.nan, 0.5]) for _ in range(3)]]
            scores += [
                [math.nan if draw.random() < 0.1 else round(draw.random(), 1) for _ in range(3)]
                for _ in range(count - 1)
            ]
            found = goals(count, 3, reduction, lambda t, k, s=scores: s[t][k])  # type: ignore[misc]
            assert found == simulated(scores, reduction)


def test_more_trials_change_nothing_of_what_was_decided() -> None:
    draw = random.Random(0)
    scores = [[draw.random() for _ in range(3)] for _ in range(60)]
    before: list[int] = [0]
    for count in range(1, 61):
        now = goals(count, 3, 3, lambda t, k: scores[t][k])
        assert all(after >= was for after, was in zip(now, before, strict=False))
        before = now
    assert sum(aim == 2 for aim in before) < 20 < sum(aim == 0 for aim in before)


def test_what_is_decided_does_not_depend_on_who_came_first() -> None:
    """Whichever results are in, deciding and running on ends the same."""
    draw = random.Random(1)
    scores = [[draw.random() for _ in range(3)] for _ in range(20)]
    whole = goals(20, 3, 3, lambda t, k: scores[t][k])
    for _ in range(10):
        known: set[tuple[int, int]] = set()
        while True:
            aims = goals(20, 3, 3, lambda t, k, n=known: scores[t][k] if (t, k) in n else None)  # type: ignore[misc]
            open_jobs = [(t, k) for t in range(20) for k in range(aims[t] + 1)]
            open_jobs = [job for job in open_jobs if job not in known]
            if not open_jobs:
                break
            known.update(draw.sample(open_jobs, draw.randint(1, len(open_jobs))))
        assert aims == whole


def test_the_default_goes_to_the_end_at_once_and_one_that_diverged_nowhere() -> None:
    assert goals(3, 3, 3, lambda t, k: None) == [2, 0, 0]
    assert goals(3, 3, 3, lambda t, k: math.nan if t == 0 else 1.0) == [0, 1, 0]
    assert list(promoted([math.nan, math.nan, math.nan], 3)) == []
    assert list(promoted([5.0, None, 7.0], 2)) == []
    assert goals(9, 1, 3, lambda t, k: 1.0) == [0] * 9  # one rung: all are whole
