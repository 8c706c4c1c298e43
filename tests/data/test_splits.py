import subprocess
import sys

import numpy as np
import pytest

from curvetune.bias import long_tail_counts
from curvetune.config import BiasConfig, DataConfig
from curvetune.data.splits import Indices, Split, make_split
from curvetune.errors import DataError

K = 4
TRAIN_Y = np.random.default_rng(0).permutation(np.repeat(np.arange(K), [60, 55, 50, 58]))
TEST_Y = np.random.default_rng(1).permutation(np.repeat(np.arange(K), [30, 20, 40, 10]))


def split(data: DataConfig | None = None, bias: BiasConfig | None = None, seed: int = 0) -> Split:
    return make_split(TRAIN_Y, TEST_Y, data or DataConfig(), bias or BiasConfig(), seed, K)


def sizes(y: Indices) -> list[int]:
    return np.bincount(y, minlength=K).tolist()


def same(a: Split, b: Split) -> bool:
    return all(np.array_equal(v, b.arrays()[name]) for name, v in a.arrays().items())


def test_the_meta_set_has_the_same_number_of_images_of_every_class() -> None:
    made = split(DataConfig(meta_per_class=7))
    assert sizes(TRAIN_Y[made.meta]) == [7] * K
    assert len(set(made.meta.tolist())) == 7 * K


@pytest.mark.parametrize("seed", range(5))
def test_no_meta_image_is_trained_on_and_no_image_twice(seed: int) -> None:
    made = split(bias=BiasConfig(imbalance=2, noise_rate=0.4), seed=seed)
    train = made.train.tolist()
    assert not set(made.meta.tolist()) & set(train)
    assert len(set(train)) == len(train)


def test_without_imbalance_every_class_is_as_large_as_the_smallest_can_be() -> None:
    assert sizes(split().y_true) == [40] * K  # 50 images of class 2, 10 of them in the meta set


@pytest.mark.parametrize("imbalance", [1, 2.5, 10, 20])
def test_class_sizes_follow_the_long_tail_from_class_zero(imbalance: float) -> None:
    assert sizes(split(bias=BiasConfig(imbalance=imbalance)).y_true) == long_tail_counts(
        40, K, imbalance
    )


def test_cifar_sizes_are_those_of_the_released_code() -> None:
    made = make_split(
        np.repeat(np.arange(10), 5000),
        np.repeat(np.arange(10), 1000),
        DataConfig(name="cifar10"),
        BiasConfig(imbalance=20, noise_rate=0.4),
        seed=0,
        num_classes=10,
    )
    counts = np.bincount(made.y_true).tolist()
    assert counts == [4900, 3512, 2518, 1805, 1294, 927, 665, 476, 341, 245]
    assert (len(made.meta), len(made.train), len(made.test)) == (1000, 16683, 10000)
    # 1 - sum((n_i / N)^2) = .823 of the rate (CurveNet-V1, feeder/feeder.py: uniform_mix_C); five
    # standard deviations of 16,683 draws.
    assert made.wrong.mean() == pytest.approx(0.823 * 0.4, abs=0.019)


def test_the_limit_per_class_is_applied_before_the_imbalance() -> None:
    made = split(DataConfig(per_class_limit=16), BiasConfig(imbalance=4))
    assert sizes(made.y_true) == long_tail_counts(16, K, 4)


def test_hidden_labels_are_the_true_ones_and_noise_changes_given_ones_only() -> None:
    clean, noisy = split(), split(bias=BiasConfig(noise="symmetric", noise_rate=0.5))
    np.testing.assert_array_equal(clean.y, TRAIN_Y[clean.train])
    assert not clean.wrong.any()
    np.testing.assert_array_equal(noisy.y_true, TRAIN_Y[noisy.train])
    np.testing.assert_array_equal(noisy.wrong, noisy.y != noisy.y_true)
    assert noisy.wrong.mean() == pytest.approx(0.5, abs=0.2)  # five standard deviations of 160


def test_proportional_noise_follows_the_sizes_after_the_imbalance() -> None:
    y = np.repeat([0, 1], 5000)
    made = make_split(
        y, y, DataConfig(), BiasConfig(imbalance=10, noise_rate=0.5, noise="uniform_prop"), 0, 2
    )
    head = made.y_true == 0
    # Kept are 4990 and 499: a label goes to class 0 with p 4990 / 5489 = .4545, to 1 with .0455.
    assert made.wrong[head].mean() == pytest.approx(0.0455, abs=0.015)
    assert made.wrong[~head].mean() == pytest.approx(0.4545, abs=0.112)


def test_one_seed_has_one_meta_set_and_one_kept_set_under_every_noise() -> None:
    a = split(bias=BiasConfig(imbalance=3))
    b = split(bias=BiasConfig(imbalance=3, noise="flip2", noise_rate=0.4))
    np.testing.assert_array_equal(a.meta, b.meta)
    np.testing.assert_array_equal(a.train, b.train)
    assert (a.y != b.y).any()


def test_a_sharper_imbalance_keeps_a_subset_and_the_same_meta_set() -> None:
    mild, sharp = (split(bias=BiasConfig(imbalance=imbalance)) for imbalance in (2, 10))
    np.testing.assert_array_equal(mild.meta, sharp.meta)
    assert set(sharp.train.tolist()) < set(mild.train.tolist())


def test_the_same_seed_makes_the_same_split_and_another_seed_another() -> None:
    bias = BiasConfig(imbalance=2, noise="uniform", noise_rate=0.4)
    a, again, other = split(bias=bias), split(bias=bias), split(bias=bias, seed=1)
    assert same(a, again)
    for name in ("meta", "train", "y"):
        assert not np.array_equal(a.arrays()[name], other.arrays()[name])


def test_the_split_of_a_seed_is_the_same_in_every_version() -> None:
    """Stored splits and cells rest on it: a change here needs a new SPLIT_VERSION."""
    made = split(
        DataConfig(meta_per_class=2, train_limit=8, test_limit=6),
        BiasConfig(imbalance=2, noise="flip2", noise_rate=0.4),
        seed=3,
    )
    assert {name: array.tolist() for name, array in made.arrays().items()} == {
        "meta": [30, 92, 101, 104, 111, 120, 180, 205],
        "train": [29, 44, 49, 88, 127, 129, 152, 202],
        "y": [3, 0, 3, 0, 0, 2, 3, 1],
        "y_true": [0, 3, 2, 0, 0, 1, 1, 1],
        "test": [14, 31, 54, 55, 62, 77],
    }


def test_the_limit_of_the_training_set_takes_a_random_part_of_the_biased_set() -> None:
    bias = BiasConfig(imbalance=2, noise="uniform", noise_rate=0.4)
    whole, part = split(bias=bias), split(DataConfig(train_limit=30), bias)
    at = np.searchsorted(whole.train, part.train)
    assert len(part.train) == 30
    for name in ("train", "y", "y_true"):
        np.testing.assert_array_equal(whole.arrays()[name][at], part.arrays()[name])
    assert np.diff(at).max() > 1  # not simply the first 30
    np.testing.assert_array_equal(whole.meta, part.meta)


def test_limits_beyond_what_there_is_change_nothing() -> None:
    beyond = DataConfig(train_limit=2000, test_limit=2000, per_class_limit=2000)
    assert same(split(), split(beyond))


def test_without_a_limit_all_test_images_are_used_in_order() -> None:
    np.testing.assert_array_equal(split().test, np.arange(len(TEST_Y)))


@pytest.mark.parametrize("limit", [10, 37, 50, 99])
def test_a_limited_test_set_has_every_class_by_its_share(limit: int) -> None:
    test = split(DataConfig(test_limit=limit)).test
    assert len(set(test.tolist())) == limit
    assert (np.diff(test) > 0).all()
    shares = np.array([30, 20, 40, 10]) * limit / 100
    assert np.abs(np.array(sizes(TEST_Y[test])) - shares).max() <= 1


def test_a_limited_test_set_is_the_same_for_every_seed_and_bias() -> None:
    limit = DataConfig(test_limit=40)
    a, b = split(limit), split(limit, BiasConfig(imbalance=5, noise_rate=0.2), seed=7)
    np.testing.assert_array_equal(a.test, b.test)
    assert not np.array_equal(a.test, np.arange(40))


def test_a_split_survives_the_way_through_its_arrays() -> None:
    made = split(bias=BiasConfig(noise="flip", noise_rate=0.4))
    assert all(array.dtype == np.int64 for array in made.arrays().values())
    assert same(made, Split.from_arrays(made.arrays()))


def test_making_a_split_leaves_the_labels_as_they_were() -> None:
    before = TRAIN_Y.copy(), TEST_Y.copy()
    split(bias=BiasConfig(imbalance=2, noise="uniform", noise_rate=0.6))
    np.testing.assert_array_equal(TRAIN_Y, before[0])
    np.testing.assert_array_equal(TEST_Y, before[1])


@pytest.mark.parametrize(
    ("data", "bias", "named"),
    [
        (DataConfig(meta_per_class=50), BiasConfig(), "meta_per_class=50.*class 2.*50.*most 49"),
        (DataConfig(), BiasConfig(imbalance=60), "imbalance=60.*40 images.*class 3.*less than 40"),
        (DataConfig(per_class_limit=5), BiasConfig(imbalance=6), "imbalance=6.*5 images"),
        (DataConfig(train_limit=1), BiasConfig(), "train_limit=1 .*1 of 160.*at least 2"),
    ],
)
def test_too_few_images_are_refused_with_the_numbers(
    data: DataConfig, bias: BiasConfig, named: str
) -> None:
    with pytest.raises(DataError, match=named):
        split(data, bias)


def test_a_class_without_training_images_is_refused() -> None:
    with pytest.raises(DataError, match="class 4 has 0 training images"):
        make_split(TRAIN_Y, TEST_Y, DataConfig(), BiasConfig(), seed=0, num_classes=5)


def test_planning_can_make_splits_without_pytorch() -> None:
    code = "import sys, curvetune.data.splits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("truth_is_added", [True, False])
def test_corrected_labels_change_the_given_labels_of_their_samples_and_nothing_else(
    truth_is_added: bool,
) -> None:
    made = split(bias=BiasConfig(imbalance=2, noise_rate=0.4))
    before = {name: array.copy() for name, array in made.arrays().items()}
    first, last = int(made.train[0]), int(made.train[-1])
    new = {first: int(made.y[0] + 1) % K, last: int(made.y[-1]), int(made.meta[0]): 0}
    after = made.relabelled(new, truth_is_added=truth_is_added)
    assert np.flatnonzero(after.y != made.y).tolist() == [0]
    assert after.y[0] == new[first]
    for name in ("meta", "train", "test"):
        assert np.array_equal(after.arrays()[name], before[name])
    truth = before["y_true"].copy()
    if not truth_is_added:
        truth[[0, -1]] = after.y[[0, -1]]
    assert np.array_equal(after.y_true, truth)
    assert same(made, Split.from_arrays(before))  # it stays as it was


def test_labels_corrected_to_the_truth_leave_none_that_is_wrong() -> None:
    made = split(bias=BiasConfig(noise_rate=0.4))
    after = made.relabelled(dict(enumerate(TRAIN_Y.tolist())), truth_is_added=True)
    assert made.wrong.any()
    assert not after.wrong.any()
