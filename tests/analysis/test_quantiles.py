"""Quantiles against printed tables, and against sums of exact probabilities."""

from fractions import Fraction
from math import comb
from statistics import NormalDist

import pytest

from curvetune.analysis.quantiles import binomial_quantile, expanded_tail, t_quantile


@pytest.mark.parametrize(("freedom", "printed"), [(2, 4.303), (3, 3.182), (10, 2.228), (30, 2.042)])
def test_a_quantile_of_t_is_that_of_printed_tables(freedom: int, printed: float) -> None:
    assert t_quantile(freedom) == pytest.approx(printed, abs=5e-4)


@pytest.mark.parametrize("settings", [3, 4, 10, 100])
def test_an_expanded_tail_is_that_of_a_normal_distribution(settings: int) -> None:
    expanded = t_quantile(settings - 1) * (settings / (settings - 1)) ** 0.5
    assert expanded_tail(settings) == pytest.approx(NormalDist().cdf(-expanded), rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 17, 100, 500])
@pytest.mark.parametrize("share", [Fraction(1, 2), Fraction(1, 10), Fraction(999, 1000)])
def test_the_upper_end_of_a_binomial_distribution_is_where_its_exact_sum_has_it(
    n: int, share: Fraction
) -> None:
    within, k = Fraction(0), -1
    while within < Fraction(975, 1000):
        k += 1
        within += comb(n, k) * share**k * (1 - share) ** (n - k)
    assert binomial_quantile(n, float(share)) == k
