"""The hierarchical bootstrap, against its exact spread and where it must not speak."""

import numpy as np
import pytest

from curvetune.analysis.bootstrap import SEED, _means, _shares, by_setting, hierarchical_interval


def test_settings_are_drawn_first_and_then_their_seeds() -> None:
    """The variance of a drawn mean is known: over settings, and within them."""
    groups = [[0.0, 2.0], [5.0, 5.0], [1.0, 7.0]]
    means = _means(groups, 200_000)
    of_settings = np.array([1.0, 5.0, 4.0])
    within = np.mean([np.var(group) / len(group) for group in groups])
    assert means.mean() == pytest.approx(of_settings.mean(), abs=0.02)
    assert means.var() == pytest.approx((of_settings.var() + within) / 3, rel=0.02)


def test_two_settings_have_no_interval_and_more_have_the_same_one_each_time() -> None:
    assert hierarchical_interval([[1.0], [2.0]]) is None
    groups = [[1.0, 2.0], [2.0, 2.5], [0.5, 1.5], [3.0, 1.0]]
    assert hierarchical_interval(groups) == hierarchical_interval(groups)


def test_equal_settings_give_an_interval_of_one_point() -> None:
    assert hierarchical_interval([[1.0, 1.0]] * 4) == (1.0, 1.0)


def test_differences_are_grouped_by_their_setting() -> None:
    assert by_setting({("x", 0): 1.0, ("y", 0): 2.0, ("x", 1): 3.0}) == [[1.0, 3.0], [2.0]]


@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 5, 2, 7), (25,) * 20])
def test_shares_are_added_up_one_draw_after_the_other(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(SEED)
    chosen = random.integers(len(sizes), size=(200, len(sizes)))
    expected, begin = np.zeros((200, sum(sizes))), 0
    for index, size in enumerate(sizes):
        grids, _ = np.nonzero(chosen == index)
        for grid, row in zip(grids, random.integers(size, size=(len(grids), size)), strict=True):
            for seed in row:
                expected[grid, begin + seed] += 1 / (size * len(sizes))
        begin += size
    assert np.array_equal(_shares(sizes, 200), expected)  # to the last bit
