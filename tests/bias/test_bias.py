from itertools import product

import numpy as np
import pytest

from curvetune.bias import corrupt, long_tail_counts, noise_matrix

# Imbalance -> counts of CIFAR-10 with 4,900 images of the largest class, by the formula of
# jiangwenj02/CurveNet-V1 (feeder/feeder.py: get_img_num_per_cls).
CIFAR10_COUNTS = {
    1: [4900] * 10,
    10: [4900, 3793, 2937, 2274, 1760, 1363, 1055, 817, 632, 490],
    20: [4900, 3512, 2518, 1805, 1294, 927, 665, 476, 341, 245],
    50: [4900, 3172, 2054, 1330, 861, 557, 361, 233, 151, 98],
    100: [4900, 2937, 1760, 1055, 632, 379, 227, 136, 81, 49],
    200: [4900, 2719, 1509, 837, 465, 258, 143, 79, 44, 24],
}
# imbalance -> (N, smallest class) of CIFAR-100 with 490.
CIFAR100_TOTALS = {
    1: (49000, 490),
    10: (19183, 49),
    20: (15594, 24),
    50: (12354, 9),
    100: (10626, 4),
    200: (9304, 2),
}
# Class -> the classes that its labels flip to in every run of xjtushujun/meta-weight-net
# (load_corrupted_data.py: flip_labels_C, flip_labels_C_two; NumPy's legacy generator, seed 1).
FLIP10 = [6, 9, 6, 0, 0, 1, 8, 6, 2, 4]
FLIP100 = [38, 13, 73, 10, 76, 6, 80, 65, 17, 1]
FLIP2_10 = [{9, 3}, {4, 8}, {1, 8}, {8, 4}, {2, 5}, {7, 4}, {9, 2}, {8, 5}, {6, 5}, {5, 4}]
FLIP2_100 = [
    *({93, 84}, {45, 70}, {57, 60}, {41, 11}, {46, 44}),
    *({0, 96}, {47, 92}, {91, 80}, {3, 17}, {50, 53}),
]
KINDS = ["symmetric", "uniform", "uniform_prop", "exact_prop", "flip", "flip2"]


@pytest.mark.parametrize("imbalance", CIFAR10_COUNTS)
def test_class_sizes_of_cifar10_are_those_of_the_released_code(imbalance: int) -> None:
    assert long_tail_counts(4900, 10, imbalance) == CIFAR10_COUNTS[imbalance]


@pytest.mark.parametrize("imbalance", CIFAR100_TOTALS)
def test_class_sizes_of_cifar100_are_those_of_the_released_code(imbalance: int) -> None:
    counts = long_tail_counts(490, 100, imbalance)
    assert (sum(counts), counts[-1]) == CIFAR100_TOTALS[imbalance]


def test_class_sizes_without_a_meta_set_are_those_of_ldam() -> None:
    counts = long_tail_counts(5000, 10, 100)
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(counts) == 12406


@pytest.mark.parametrize(
    ("largest", "num_classes", "imbalance", "named"),
    [(0, 10, 1, "largest.*0"), (10, 1, 1, "num_classes.*1"), (10, 10, 0.05, "imbalance.*0.05")],
)
def test_class_sizes_refuse_numbers_out_of_range(
    largest: int, num_classes: int, imbalance: float, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        long_tail_counts(largest, num_classes, imbalance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6, 1.0])
def test_every_row_of_a_noise_matrix_is_a_distribution(kind: str, rate: float) -> None:
    matrix = noise_matrix(kind, rate, 10, CIFAR10_COUNTS[20])
    assert matrix.shape == (10, 10)
    assert matrix.dtype == np.float64
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_noise_rate_of_zero_changes_no_label(kind: str) -> None:
    labels = np.random.default_rng(0).integers(7, size=1000)
    matrix = noise_matrix(kind, 0, 7, [3] * 7)
    np.testing.assert_array_equal(matrix, np.eye(7))
    np.testing.assert_array_equal(corrupt(labels, matrix, np.random.default_rng(1)), labels)


def test_symmetric_noise_goes_to_every_other_class_alike() -> None:
    matrix = noise_matrix("symmetric", 0.4, 5)
    np.testing.assert_allclose(np.diag(matrix), 0.6)
    np.testing.assert_allclose(matrix[~np.eye(5, dtype=bool)], 0.1)


def test_uniform_noise_may_draw_the_true_class_again() -> None:
    matrix = noise_matrix("uniform", 0.4, 5)
    np.testing.assert_allclose(np.diag(matrix), 0.68)
    np.testing.assert_allclose(matrix[~np.eye(5, dtype=bool)], 0.08)


def test_uniform_prop_noise_follows_the_class_sizes() -> None:
    tail = [0.0842, 0.0604, 0.0433, 0.0310, 0.0222, 0.0159, 0.0114, 0.0082]
    matrix = noise_matrix("uniform_prop", 0.4, 10, CIFAR10_COUNTS[20])
    np.testing.assert_allclose(matrix[0], [0.7175, *tail, 0.0059], atol=5e-5)
    np.testing.assert_allclose(matrix[9], [0.1175, *tail, 0.6059], atol=5e-5)


@pytest.mark.parametrize(
    ("imbalance", "share"), [(1, 0.9), (10, 0.851), (20, 0.823), (50, 0.78), (200, 0.712)]
)
def test_the_effective_rate_of_uniform_prop_noise_is_the_published_share_of_its_rate(
    imbalance: int, share: float
) -> None:
    counts = np.array(CIFAR10_COUNTS[imbalance])
    kept = np.diag(noise_matrix("uniform_prop", 0.4, 10, counts))
    effective = (counts * (1 - kept)).sum() / counts.sum()
    assert effective / 0.4 == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize(("num_classes", "targets"), [(10, FLIP10), (100, FLIP100)])
def test_flip_noise_goes_to_mw_nets_fixed_class(num_classes: int, targets: list[int]) -> None:
    matrix = noise_matrix("flip", 0.3, num_classes)
    np.testing.assert_allclose(np.diag(matrix), 0.7)
    for true, target in enumerate(targets):
        assert np.flatnonzero(matrix[true]).tolist() == sorted([true, target])
        assert matrix[true, target] == pytest.approx(0.3)


@pytest.mark.parametrize(("num_classes", "targets"), [(10, FLIP2_10), (100, FLIP2_100)])
def test_flip2_noise_is_shared_by_mw_nets_two_fixed_classes(
    num_classes: int, targets: list[set[int]]
) -> None:
    matrix = noise_matrix("flip2", 0.4, num_classes)
    np.testing.assert_allclose(np.diag(matrix), 0.6)
    for true, pair in enumerate(targets):
        assert set(np.flatnonzero(matrix[true]).tolist()) == {true, *pair}
        np.testing.assert_allclose(matrix[true, sorted(pair)], 0.2)


@pytest.mark.parametrize("kind", ["flip", "flip2"])
def test_fixed_targets_leave_the_global_generator_alone(kind: str) -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    noise_matrix(kind, 0.4, 10)
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("kind", "rate", "num_classes", "counts", "named"),
    [
        (
            "unif",
            0.4,
            10,
            None,
            "'unif'.*symmetric, uniform, uniform_prop, exact_prop, flip, flip2",
        ),
        ("uniform", 1.5, 10, None, "0 to 1.*1.5"),
        ("uniform", float("nan"), 10, None, "0 to 1.*nan"),
        ("flip2", 0.4, 2, None, "num_classes.*3.*2"),
        ("symmetric", 0.4, 1, None, "num_classes.*2.*1"),
        ("uniform_prop", 0.4, 10, None, "give counts"),
        ("uniform_prop", 0.4, 10, [5] * 9, "10 class sizes"),
        ("uniform_prop", 0.4, 2, [0, 0], "not all zero"),
    ],
)
def test_a_noise_matrix_refuses_what_has_no_meaning(
    kind: str, rate: float, num_classes: int, counts: list[int] | None, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        noise_matrix(kind, rate, num_classes, counts)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_change_as_often_as_the_matrix_says(kind: str) -> None:
    counts = [4000, 3000, 2000, 1000, 500]
    labels = np.repeat(np.arange(5), counts)
    matrix = noise_matrix(kind, 0.4, 5, counts)
    given = corrupt(labels, matrix, np.random.default_rng(0))
    for true in range(5):
        for target in range(5):
            p, n = matrix[true, target], counts[true]
            seen = np.count_nonzero(given[labels == true] == target)
            # Five standard deviations of a binomial count; exact where p is 0.
            assert abs(seen - n * p) <= 5 * np.sqrt(n * p * (1 - p))


def test_labels_are_drawn_one_by_one_and_not_to_a_quota() -> None:
    """Of 300 samples of 50, the counts of changed labels vary as a binomial does."""
    matrix = noise_matrix("symmetric", 0.4, 3)
    labels = np.zeros(50, dtype=np.int64)
    rng = np.random.default_rng(0)
    changed = [np.count_nonzero(corrupt(labels, matrix, rng)) for _ in range(300)]
    assert np.var(changed) == pytest.approx(50 * 0.4 * 0.6, rel=0.3)  # its sd is 0.08 of that


def test_corrupting_leaves_its_inputs_as_they_were_and_repeats_itself() -> None:
    labels = np.arange(1000) % 10
    matrix = noise_matrix("uniform", 0.5, 10)
    kept_labels, kept_matrix = labels.copy(), matrix.copy()
    first = corrupt(labels, matrix, np.random.default_rng(3))
    second = corrupt(labels, matrix, np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(labels, kept_labels)
    np.testing.assert_array_equal(matrix, kept_matrix)
    assert first.dtype == np.int64
    assert (first != labels).any()


def test_no_draw_lands_on_a_class_of_no_probability() -> None:
    """Rows whose floating-point sum is not 1, at the least and the greatest draw there is."""

    class Extremes:
        def random(self, size: int) -> np.ndarray:
            return np.resize([0.0, np.nextafter(1, 0)], size)

    matrix = np.array([[0.0, 0.7, 0.1, 0.1, 0.1, 0.0]] * 6)
    given = corrupt(np.zeros(4, dtype=np.int64), matrix, Extremes())  # type: ignore[arg-type]
    assert given.tolist() == [1, 4, 1, 4]


def test_exact_prop_noise_changes_exactly_its_rate_and_follows_the_class_sizes() -> None:
    counts = CIFAR10_COUNTS[20]
    labels = np.repeat(np.arange(10), counts)
    matrix = noise_matrix("exact_prop", 0.4, 10, counts)
    wrong = round(0.4 * len(labels))
    given = corrupt(labels, matrix, np.random.default_rng(0), exactly=wrong)
    assert (given != labels).sum() == wrong
    to = np.bincount(given[(given != labels) & (labels == 9)], minlength=10)
    shares = np.array([*counts[:9], 0]) / sum(counts[:9])
    assert to / to.sum() == pytest.approx(shares, abs=0.1)  # of 98 labels
    assert np.array_equal(labels, np.repeat(np.arange(10), counts))


def test_exact_prop_noise_needs_somewhere_to_go() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        noise_matrix("exact_prop", 0.4, 3, [5, 0, 0])


def test_dividing_gives_the_same_class_sizes_and_powers_of_a_root_do_not() -> None:
    divided, rooted, total = 0, 0, 0
    for largest, classes, imbalance in product(
        (50, 119, 490, 1000, 4900, 5000), (2, 3, 5, 10, 14, 100), (1, 2, 5, 10, 20, 50, 100, 256)
    ):
        counts = long_tail_counts(largest, classes, imbalance)
        for k, count in enumerate(counts):
            total += 1
            divided += int(largest / imbalance ** (k / (classes - 1))) != count
            rooted += int(largest * ((1 / imbalance) ** (1 / (classes - 1))) ** k) != count
    assert (divided, total) == (0, 6432)
    assert rooted > 0
