"""The split of a cell: the clean meta set, the biased training set and the test images.

The order is that of jiangwenj02/CurveNet-V1 (feeder/feeder.py): take the meta set, then cut the
rest to its class sizes, then change labels of what is kept. Meta images are never trained on and
their labels never change; the test set is not biased.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from curvetune.bias import corrupt, noise_matrix
from curvetune.config import BiasConfig, DataConfig
from curvetune.data.limits import kept_counts, limited_size, validation_size
from curvetune.data.source import ClassSizes
from curvetune.data.tables.table import ANOTHER, UNKNOWN
from curvetune.errors import CorruptError
from curvetune.seeding import numpy_stream

Indices = NDArray[np.int64]

TEST_SEED = 0  # of the choice of test images: one for all seeds, so that cells are comparable


@dataclass(frozen=True, eq=False)
class Split:
    """Which images play which part, and the labels that they are given. All int64."""

    meta: Indices  # (M,), into the training images; class-balanced, sorted
    train: Indices  # (N,), into the training images; sorted
    y: Indices  # (N,), given labels
    y_true: Indices  # (N,), hidden labels; UNKNOWN or ANOTHER where the data does not know them
    test: Indices  # into the test images; sorted
    # What is evaluated on instead, (V,), if data.validation says so; `test` is then empty
    validation: Indices | None = None  # into the training images; sorted
    validation_y: Indices | None = None  # their labels

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether it is known that the given label is right, or wrong, (N,)."""
        known: NDArray[np.bool_] = self.y_true != UNKNOWN
        return known

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the given label is known not to be the true one, (N,)."""
        wrong: NDArray[np.bool_] = (self.y != self.y_true) & self.known
        return wrong

    @property
    def believed(self) -> Indices:
        """The true labels where they are known, else the given ones, (N,)."""
        return np.where(self.y_true < 0, self.y, self.y_true)

    def relabelled(self, corrections: Mapping[int, int], *, truth_is_added: bool) -> Self:
        """Return the same split with corrected given labels; images outside of it are left out.

        Args:
            corrections: the class of training images, by index.
            truth_is_added: whether the hidden labels are the truth and stay: the wrong ones were
                added here, or the data tells. Else hidden labels are but the data's own, and a
                corrected one knows better.
        """
        y, y_true = self.y.copy(), self.y_true.copy()
        for position in np.flatnonzero(np.isin(self.train, list(corrections))):
            y[position] = corrections[int(self.train[position])]
            if not truth_is_added:
                y_true[position] = y[position]
        return replace(self, y=y, y_true=_still_known(y_true, self.y, y))

    def arrays(self) -> dict[str, Indices]:
        """Return the arrays by name; `from_arrays` makes the same split of them."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the split that `arrays` were taken from.

        Raises:
            CorruptError: they are of no split.
        """
        names = {field.name for field in fields(cls)}
        allowed = (names, names - {"validation", "validation_y"})
        if set(arrays) not in allowed or any(array.ndim != 1 for array in arrays.values()):
            raise CorruptError(f"no split: it holds {', '.join(arrays) or 'nothing'}")
        if not len(arrays["train"]) == len(arrays["y"]) == len(arrays["y_true"]):
            raise CorruptError("no split: not every training image has a label")
        if "validation" in arrays and len(arrays["validation"]) != len(arrays["validation_y"]):
            raise CorruptError("no split: not every image to validate on has a label")
        found = {name: np.asarray(array, np.int64) for name, array in arrays.items()}
        if np.array_equal(found["y"], found["y_true"]):  # of a million, one copy less
            found["y_true"] = found["y"]
        return cls(**found)


def make_split(
    train_y: Indices,
    test_y: Indices,
    data: DataConfig,
    bias: BiasConfig,
    seed: int,
    num_classes: int,
    *,
    clean: Indices | None = None,
    known: Indices | None = None,
    people: Indices | None = None,
) -> Split:
    """Return the split of a data set with these true labels; `train_y` and `test_y` stay as is.

    Every stage draws from a stream of its own, so one seed has the same meta set under every
    bias, the same kept images under every noise, and a sharper imbalance keeps a subset.

    Args:
        clean: positions of a clean set of the data's own. The meta set is drawn from it, and the
            rest of it is not used.
        known: true labels, (N,), UNKNOWN or ANOTHER where the data does not know them; if not
            given, those of the data are the truth.
        people: labels that people gave, (N,); then no others are drawn.

    Raises:
        DataError: the data has too few images, or classes, for what the config asks.
    """
    sizes = ClassSizes.of(train_y, test_y, num_classes, clean)
    counts = kept_counts(sizes.train, data, bias, sizes.clean)
    meta, rest = _take_meta(train_y, data.meta_per_class, seed, num_classes, clean)
    train = _kept(rest, counts, numpy_stream(seed, "split.imbalance"))
    del rest  # of a million images, what is of no use any more is a part of the memory

    given = train_y[train]
    kind = bias.noise if bias.noise_rate else "real"  # without noise, its kind decides nothing
    matrix = noise_matrix(kind, bias.noise_rate, num_classes, counts)
    exactly = round(bias.noise_rate * len(train)) if kind == "exact_prop" else None
    y = corrupt(given, matrix, numpy_stream(seed, "split.noise"), exactly=exactly)
    if people is not None:
        y = people[train]
    y_true = given if known is None else _still_known(known[train], given, y)

    if limited_size(len(train), data.train_limit) < len(train):
        chosen = _limited(len(train), data.train_limit, seed)
        train, y, y_true = train[chosen], y[chosen], y_true[chosen]
    stream = numpy_stream(TEST_SEED, "split.test")
    test = _stratified(test_y, data.test_limit, num_classes, stream)
    return Split(meta=meta, train=train, y=y, y_true=y_true, test=test)


def with_validation(split: Split, data: DataConfig, train_y: Indices, seed: int) -> Split:
    """Return a split in which images are held out of training, to be evaluated on.

    The stream is one of its own. So all else is drawn as without it.

    Args:
        data: whose `validation` is a share, of the biased training set with the labels that it is
            given, each class by its share; or `clean`, half of each class of the meta set.
        train_y: labels of the training images as the data has them.

    Raises:
        DataError: too few are left to train on, or there are none to evaluate on.
    """
    assert data.validation is not None
    stream = numpy_stream(seed, "split.validation")
    if data.validation == "clean":
        held = _half_of_each(split.meta, train_y[split.meta], stream)
        meta = np.setdiff1d(split.meta, held)
        return replace(split, meta=meta, validation=held, validation_y=train_y[held])
    size, classes = len(split.y), int(split.y.max()) + 1
    held = _stratified(split.y, validation_size(size, data.validation), classes, stream)
    left = np.setdiff1d(np.arange(size), held)
    return replace(
        split,
        train=split.train[left],
        y=split.y[left],
        y_true=split.y_true[left],
        validation=split.train[held],
        validation_y=split.y[held],
    )


def _half_of_each(rows: Indices, y: Indices, stream: np.random.Generator) -> Indices:
    """Return half of the rows of each class, sorted; of an odd number the smaller half."""
    members = [stream.permutation(rows[y == k]) for k in np.unique(y)]
    return np.sort(np.concatenate([one[: len(one) // 2] for one in members]))


def _take_meta(
    y: Indices, per_class: int, seed: int, num_classes: int, clean: Indices | None
) -> tuple[Indices, list[Indices]]:
    """Return the meta set, and what is left to train on of each class, (K,)."""
    stream = numpy_stream(seed, "split.meta")
    meta, rest = [], []
    for k in range(num_classes):  # one by one: two copies of a class are there, and not of all
        members = np.flatnonzero(y == k)
        pool = members if clean is None else np.sort(clean[y[clean] == k])
        shuffled = stream.permutation(pool)
        meta.append(shuffled[:per_class].copy())
        left = shuffled[per_class:] if clean is None else np.setdiff1d(members, clean)
        left.sort()
        rest.append(left)
    return np.sort(np.concatenate(meta)), rest


def _still_known(known: Indices, before: Indices, after: Indices) -> Indices:
    """Return what is known of true labels once given labels have changed.

    Of another label than the one that was known to be wrong, nothing is.
    """
    return np.where((known == ANOTHER) & (before != after), UNKNOWN, known)


def _kept(classes: list[Indices], counts: Sequence[int], stream: np.random.Generator) -> Indices:
    """Return a random part of each class, so many of it, sorted; `classes` is used up."""
    kept = np.empty(sum(counts), np.int64)
    start = 0
    for count in counts:
        kept[start : start + count] = stream.permutation(classes.pop(0))[:count]
        start += count
    kept.sort()
    return kept


def _limited(size: int, limit: int | None, seed: int) -> Indices:
    """Return the sorted positions of a random subset of the biased set, or all of them."""
    left = limited_size(size, limit)
    return np.sort(numpy_stream(seed, "split.train_limit").permutation(size)[:left])


def _stratified(
    y: Indices, limit: int | None, num_classes: int, stream: np.random.Generator
) -> Indices:
    """Return sorted indices of at most `limit` labels, each class by its share.

    Each class is shuffled and spread evenly over 0 to 1; the images that come first are taken.
    """
    place = np.empty(len(y))
    for k in range(num_classes):
        members = stream.permutation(np.flatnonzero(y == k))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((stream.random(len(y)), place))  # equal places: in random order
    return np.sort(order[:limit])
