"""Wilcoxon's signed-rank test against its definition, and against scipy where scipy is exact."""

import time
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from curvetune.analysis.signed_rank import LARGEST, num_differing, signed_rank, smallest_p


def enumerated(differences: list[float]) -> float:
    """Return the share of all signs that are as extreme: midranks, zeros dropped."""
    kept = np.array([value for value in differences if value != 0])
    if not len(kept):
        return 1.0
    ranks = np.rint(2 * rankdata(np.abs(kept))).astype(int)
    signs = np.array(list(product((0, 1), repeat=len(kept))))
    sums, seen = signs @ ranks, int(ranks[kept > 0].sum())
    middle = Fraction(int(ranks.sum()), 2)
    return float(np.mean(np.abs(sums - float(middle)) >= abs(seen - middle)))


@pytest.mark.parametrize("n", range(2, 13))
def test_p_is_the_share_of_all_signs_that_are_as_extreme_with_ties_and_zeros(n: int) -> None:
    draw = np.random.default_rng(n)
    for _ in range(40 if n < 10 else 8):
        grain = draw.choice([1, 2, 5, 100])
        differences = (np.round(draw.normal(0.4, 1, n) * grain) / grain).tolist()
        assert signed_rank(differences) == pytest.approx(enumerated(differences), rel=1e-12)


@pytest.mark.parametrize("n", [5, 14, 30, 50, 200])
def test_without_ties_and_zeros_p_is_scipys_exact_one(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    exact = wilcoxon(differences, method="exact").pvalue
    assert signed_rank(differences.tolist()) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0] + [0.0] * 9, 0.0625),  # scipy's auto: .0431
        ([float(k) for k in range(1, 14)] + [0.0], 2 / 2**13),
        ([float(k) for k in range(1, 15)] + [0.0], 2 / 2**14),  # .00098
        ([1.0] * 14, 2 / 2**14),
    ],
)
def test_p_is_the_smallest_there_is_where_all_that_differ_are_on_one_side(
    differences: list[float], p: float
) -> None:
    assert signed_rank(differences) == pytest.approx(p, rel=1e-12)
    assert smallest_p(num_differing(differences)) == p


def test_ties_are_not_taken_for_the_ranks_one_to_n() -> None:
    ties = [1.0, 1.0, 2.0, 3.0, 3.0, -2.0, -1.0]
    assert signed_rank(ties) == pytest.approx(0.28125)
    assert wilcoxon(ties, method="exact").pvalue == pytest.approx(0.296875)


def test_the_side_does_not_matter() -> None:
    differences = [3.0, -1.0, 2.0, 2.0, 0.0, 5.0]
    assert signed_rank(differences) == signed_rank([-value for value in differences])


def test_equal_scores_are_no_difference_and_one_pair_is_no_test() -> None:
    assert signed_rank([0.0, 1e-13, 0.0]) == 1.0
    assert num_differing([0.0, 1e-13, 2.0]) == 1
    assert signed_rank([1.0]) is None
    assert signed_rank([]) is None


def test_a_thousand_pairs_are_exact_and_take_a_second() -> None:
    draw = np.random.default_rng(0)
    differences = np.round(draw.normal(0.05, 1, LARGEST), 1)
    began = time.process_time()
    p = signed_rank(differences.tolist())
    assert time.process_time() - began < 5
    assert p == pytest.approx(wilcoxon(differences, method="asymptotic").pvalue, rel=0.02)
    assert signed_rank([1.0] * LARGEST) == pytest.approx(2.0 ** (1 - LARGEST))


def test_more_pairs_than_that_have_the_normal_approximation() -> None:
    differences = np.random.default_rng(1).normal(0.05, 1, LARGEST + 1)
    expected = wilcoxon(differences, method="asymptotic").pvalue
    assert signed_rank(differences.tolist()) == expected
