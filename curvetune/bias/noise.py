"""Label noise: the matrix C with C[i, j] = P(given label j | true label i), and the draw from it.

Every kind keeps a label with probability 1 - p and else draws another from its own distribution;
exact_prop changes as many labels as p says, all others about as many:

    symmetric     any other class (Co-teaching, O2U-Net)
    uniform       any class, the true one too, so that p (K - 1) / K change (MW-Net, GLC)
    uniform_prop  any class, in proportion to its size (CurveNet-V1)
    exact_prop    any other class, in proportion to its size; exactly p N labels change (RoLT's imb)
    flip          one other class, the same in every run (MW-Net)
    flip2         two other classes, p / 2 each, the same in every run (MW-Net)
    real          none: the data's own labels are taken to be noisy, at a rate that nobody knows

human-aggre, -worse, -random1 to -random3 and -fine are no draws: they are labels that people gave
(data/people/labels.py), beside which the data has the true ones.

With imbalance these are different benchmarks: docs/reproduction.md.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Counts = Sequence[int] | NDArray[np.integer[Any]]

AT_ONCE = 65_536  # labels


def noise_matrix(kind: str, rate: float, num_classes: int, counts: Counts | None = None) -> Matrix:
    """Return the noise matrix, (K, K); row i is the distribution of the given label of class i.

    Args:
        rate: p, from 0 to 1; the share of labels that change is smaller for some kinds.
        counts: true size of each class, (K,); only the two kinds in proportion to it need it.

    Raises:
        ValueError: there is no such kind, a number is out of its range, or counts are missing.
    """
    if kind not in NOISES:
        raise ValueError(f"unknown noise {kind!r}; allowed are {', '.join(NOISES)}")
    if not 0 <= rate <= 1:
        raise ValueError(f"noise rate must be from 0 to 1, got {rate}")
    if num_classes < (fewest := fewest_classes(kind)):
        raise ValueError(f"num_classes must be at least {fewest} for {kind}, got {num_classes}")
    return (1 - rate) * np.eye(num_classes) + rate * NOISES[kind](num_classes, counts)


def fewest_classes(kind: str) -> int:
    """Return how many classes a kind of noise needs."""
    return 3 if kind == "flip2" else 2


def corrupt(
    labels: NDArray[np.int64],
    matrix: Matrix,
    generator: np.random.Generator,
    *,
    exactly: int | None = None,
) -> NDArray[np.int64]:
    """Return new labels, (N,), each drawn on its own from the row of its true class.

    Args:
        labels: true labels, (N,); left untouched.
        matrix: rows of probabilities, (K, K).
        exactly: how many labels change, whichever; rows then say to what.
    """
    if exactly is not None:
        changed = generator.permutation(len(labels))[:exactly]
        away = matrix * (1 - np.eye(len(matrix)))
        new = labels.copy()
        new[changed] = corrupt(labels[changed], away, generator)
        return new
    cumulative = matrix.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]  # ends at exactly 1, so that no draw can pass the last class
    drawn = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), AT_ONCE):  # K numbers for each label
        some = labels[start : start + AT_ONCE]
        draws = generator.random(len(some))  # as all at once: one number after the other
        drawn[start : start + AT_ONCE] = (draws[:, None] >= cumulative[some]).sum(axis=1)
    return drawn


def _symmetric(num_classes: int, counts: Counts | None) -> Matrix:
    return (1 - np.eye(num_classes)) / (num_classes - 1)


def _uniform(num_classes: int, counts: Counts | None) -> Matrix:
    return np.full((num_classes, num_classes), 1 / num_classes)


def _uniform_prop(num_classes: int, counts: Counts | None) -> Matrix:
    return np.tile(_shares(num_classes, counts), (num_classes, 1))


def _exact_prop(num_classes: int, counts: Counts | None) -> Matrix:
    others = (1 - np.eye(num_classes)) * _shares(num_classes, counts)
    sums = others.sum(axis=1, keepdims=True)
    if (sums == 0).any():
        raise ValueError("noise exact_prop needs at least 2 classes with samples")
    rows: Matrix = others / sums
    return rows


def _shares(num_classes: int, counts: Counts | None) -> NDArray[np.float64]:
    """Return each class's share of the samples, (K,)."""
    if counts is None:
        raise ValueError("this noise needs the true size of each class; give counts")
    sizes = np.asarray(counts, dtype=np.float64)
    if sizes.shape != (num_classes,) or (sizes < 0).any() or sizes.sum() == 0:
        raise ValueError(
            f"counts must be {num_classes} class sizes, none negative, not all zero; "
            f"got {sizes.tolist()}"
        )
    shares: NDArray[np.float64] = sizes / sizes.sum()
    return shares


def _flip(num_classes: int, counts: Counts | None) -> Matrix:
    return _to_fixed_targets(num_classes, 1)


def _flip2(num_classes: int, counts: Counts | None) -> Matrix:
    return _to_fixed_targets(num_classes, 2)


def _to_fixed_targets(num_classes: int, num_targets: int) -> Matrix:
    """Return rows that share their mass among `num_targets` other classes, the same every time.

    MW-Net calls `np.random.seed(1)` and then draws the classes' targets in order; a `RandomState`
    of our own draws the same ones and leaves the global generator alone. Like MW-Net's, a single
    target comes from `choice` with replacement: without, the same seed gives another one.
    """
    state = np.random.RandomState(1)
    matrix = np.zeros((num_classes, num_classes))
    for true in range(num_classes):
        others = np.delete(np.arange(num_classes), true)
        targets = state.choice(others, num_targets, replace=num_targets == 1)
        matrix[true, targets] = 1 / num_targets
    return matrix


def _real(num_classes: int, counts: Counts | None) -> Matrix:
    return np.eye(num_classes)


NOISES: dict[str, Callable[[int, Counts | None], Matrix]] = {
    "symmetric": _symmetric,
    "uniform": _uniform,
    "uniform_prop": _uniform_prop,
    "exact_prop": _exact_prop,
    "flip": _flip,
    "flip2": _flip2,
    "real": _real,
}
