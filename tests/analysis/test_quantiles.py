"""Quantiles are those of SciPy, to the last bit where numbers are made of them."""

import random

import numpy as np
import pytest
from scipy.special import bdtr, ndtr, stdtrit

from curvetune.analysis.quantiles import (
    T_QUANTILES,
    TAILS,
    binomial_quantile,
    expanded_tail,
    t_quantile,
)


def test_those_that_are_written_down_are_those_that_are_computed() -> None:
    for freedom in range(2, len(T_QUANTILES) + 20):
        assert t_quantile(freedom) == float(stdtrit(freedom, 0.975))
    for k in range(3, len(TAILS) + 20):
        tail = float(stdtrit(k - 1, 0.975)) * (k / (k - 1)) ** 0.5
        assert expanded_tail(k) == float(ndtr(-tail))


@pytest.mark.parametrize("n", [1, 2, 3, 17, 100, 500, 1797, 10_000, 50_000])
def test_the_upper_end_of_a_binomial_distribution_is_where_scipy_has_it(n: int) -> None:
    random_ = random.Random(n)
    shares = [1 / k for k in (2, 3, 10, 14, 100, 1000)] + [0.999, 0.5000001]
    for share in [*shares, *(random_.random() for _ in range(40))]:
        within = bdtr(np.arange(n + 1), n, share) >= 0.975
        assert binomial_quantile(n, share) == int(np.argmax(within)), share
