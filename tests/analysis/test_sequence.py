"""Intervals that hold however often one looks, against numerical integrals and simulations."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from curvetune.analysis.decide import Standing
from curvetune.analysis.seeds_needed import MOST, power_of, seeds_needed
from curvetune.analysis.sequence import evidence, half_width, sequence_interval

MANY = 4000


@pytest.mark.parametrize(("n", "shift"), [(6, 0.3), (8, 1.0), (20, -0.4)])
def test_the_evidence_is_the_bayes_factor_of_a_normal_prior_on_the_effect(
    n: int, shift: float
) -> None:
    values = np.random.default_rng(n).standard_normal(n) + shift
    t = float(values.mean() / values.std(ddof=1) * math.sqrt(n))

    def weighted(effect: float) -> float:
        likelihood = stats.nct.pdf(t, n - 1, effect * math.sqrt(n))
        return float(likelihood * stats.norm.pdf(effect))

    mixed, _ = integrate.quad(weighted, -8, 8, points=[0.0], limit=200)
    assert evidence(values.tolist()) == pytest.approx(mixed / stats.t.pdf(t, n - 1), rel=1e-5)


def test_the_interval_ends_where_the_evidence_is_one_over_alpha() -> None:
    values = np.random.default_rng(1).standard_normal(9).tolist()
    interval = sequence_interval(values)
    assert interval is not None
    for end in interval:
        assert evidence(values, end) == pytest.approx(20.0)
    assert evidence(values, sum(values) / 9) < 1.0


def test_few_values_allow_any_mean_and_more_make_the_interval_narrower() -> None:
    assert [math.isinf(half_width(n, 1.0)) for n in range(2, 7)] == [True, True, True, True, False]
    widths = [half_width(n, 1.0) for n in range(6, 200)]
    assert widths == sorted(widths, reverse=True)
    assert sequence_interval([1.0]) is None


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("normal", 0.05),
        ("uniform", 0.05),
        ("heavy tails", 0.05),
        ("two points", 0.07),  # the limits that docs/statistics.md tells of
        ("skewed", 0.13),
    ],
)
def test_all_verdicts_of_equal_methods_together_are_wrong_at_most_one_time_in_twenty(
    kind: str, most: float
) -> None:
    """Looked at after each of 60 seeds; `sd * width(n)` is the interval, so a table of it does."""
    random = np.random.default_rng(7)
    draws = {
        "normal": lambda: random.standard_normal((MANY, 60)),
        "uniform": lambda: random.uniform(-1, 1, (MANY, 60)),
        "heavy tails": lambda: random.standard_t(3, (MANY, 60)),
        "skewed": lambda: random.exponential(size=(MANY, 60)) - 1.0,
        "two points": lambda: random.choice([-1.0, 1.0], (MANY, 60)),
    }[kind]()
    wrong = np.zeros(MANY, bool)
    for n in range(6, 61):
        seen = draws[:, :n]
        wrong |= np.abs(seen.mean(axis=1)) > seen.std(axis=1, ddof=1) * half_width(n, 1.0)
    assert 0.01 < wrong.mean() <= most


def test_who_stops_with_a_t_test_after_any_seed_is_wrong_far_more_often() -> None:
    """The reason for all this, and the control of the test above."""
    draws = np.random.default_rng(7).standard_normal((MANY, 60))
    wrong = np.zeros(MANY, bool)
    for n in range(6, 61):
        seen = draws[:, :n]
        half = stats.t.ppf(0.975, n - 1) * seen.std(axis=1, ddof=1) / math.sqrt(n)
        wrong |= np.abs(seen.mean(axis=1)) > half
    assert wrong.mean() > 0.15


def test_seeds_needed_is_the_textbooks_sample_size() -> None:
    """Cohen 1988, table 2.4.1 for one sample: an effect of 0.5 needs 34, of 0.8 needs 15."""
    for effect, expected in ((0.5, 34), (0.8, 15)):
        values = np.array([-1.0, 1.0] * 50)
        values = values / values.std(ddof=1) + effect
        assert seeds_needed(values.tolist()) == expected
        assert power_of(effect, expected) >= 0.8 > power_of(effect, expected - 1)
    assert seeds_needed([1.0]) is None
    assert seeds_needed([2.0, 2.0, 2.0]) == 2
    assert seeds_needed([1.0, -1.0, 1.0, -1.0]) == MOST + 1


def test_the_power_is_a_number_everywhere_and_grows_with_seeds() -> None:
    for effect in np.arange(0.05, 3, 0.05):
        powers = [power_of(float(effect), n) for n in range(2, 1001, 13)]
        assert np.isfinite(powers).all()
        assert (np.diff(powers) > -1e-9).all()


@pytest.mark.parametrize(
    ("values", "margin", "verdict"),
    [
        ([2.0, 2.2, 1.9, 2.1, 2.0, 1.8], 0.0, "better"),
        ([-2.0, -2.2, -1.9, -2.1, -2.0, -1.8], 0.0, "worse"),
        ([0.01, -0.02, 0.01, -0.01, 0.02, 0.0], 0.5, "within the margin"),
        ([0.01, -0.02, 0.01, -0.01, 0.02, 0.0], 0.0, "open"),
        ([2.0, 2.2, 1.9], 0.0, "open"),
    ],
)
def test_the_verdict_is_what_the_interval_says(
    values: list[float], margin: float, verdict: str
) -> None:
    found = Standing("a", "b", tuple(range(len(values))), tuple(values), margin)
    assert found.verdict == verdict
    assert "b" in found.words()
