"""The split of a cell: the clean meta set, the biased training set and the test images.

The order is that of jiangwenj02/CurveNet-V1 (feeder/feeder.py): take the meta set, then cut the
rest to its class sizes, then change labels of what is kept. Meta images are never trained on and
their labels never change; the test set is not biased.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from curvetune.bias import corrupt, long_tail_counts, noise_matrix
from curvetune.config import BiasConfig, DataConfig
from curvetune.errors import CorruptError, DataError
from curvetune.seeding import numpy_stream

Indices = NDArray[np.int64]

TEST_SEED = 0  # of the choice of test images: one for all seeds, so that cells are comparable
FEWEST = 2  # samples to train on: batch normalisation has no variance of one


@dataclass(frozen=True, eq=False)
class Split:
    """Which images play which part, and the labels that they are given. All int64."""

    meta: Indices  # (M,), into the training images; class-balanced, sorted
    train: Indices  # (N,), into the training images; sorted
    y: Indices  # (N,), given labels
    y_true: Indices  # (N,), hidden labels
    test: Indices  # into the test images; sorted

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the given label is not the true one, (N,)."""
        wrong: NDArray[np.bool_] = self.y != self.y_true
        return wrong

    def arrays(self) -> dict[str, Indices]:
        """Return the arrays by name; `from_arrays` makes the same split of them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the split that `arrays` were taken from.

        Raises:
            CorruptError: they are of no split.
        """
        names = [field.name for field in fields(cls)]
        if set(arrays) != set(names) or any(array.ndim != 1 for array in arrays.values()):
            raise CorruptError(f"no split: it holds {', '.join(arrays) or 'nothing'}")
        if not len(arrays["train"]) == len(arrays["y"]) == len(arrays["y_true"]):
            raise CorruptError("no split: not every training image has a label")
        return cls(**{name: np.asarray(arrays[name], np.int64) for name in names})


def make_split(
    train_y: Indices,
    test_y: Indices,
    data: DataConfig,
    bias: BiasConfig,
    seed: int,
    num_classes: int,
) -> Split:
    """Return the split of a data set with these true labels; `train_y` and `test_y` stay as is.

    Every stage draws from a stream of its own, so one seed has the same meta set under every
    bias, the same kept images under every noise, and a sharper imbalance keeps a subset.

    Raises:
        DataError: the data has too few images for what the config asks.
    """
    meta, rest = _take_meta(train_y, data.meta_per_class, seed, num_classes)
    pools = _shuffled(rest, numpy_stream(seed, "split.imbalance"))
    counts = _kept_counts(pools, data, bias.imbalance)
    train = np.sort(np.concatenate([pool[:n] for pool, n in zip(pools, counts, strict=True)]))

    y_true = train_y[train]
    matrix = noise_matrix(bias.noise, bias.noise_rate, num_classes, counts)
    exactly = round(bias.noise_rate * len(train)) if bias.noise == "exact_prop" else None
    y = corrupt(y_true, matrix, numpy_stream(seed, "split.noise"), exactly=exactly)

    chosen = _limited(len(train), data.train_limit, seed)
    return Split(
        meta=meta,
        train=train[chosen],
        y=y[chosen],
        y_true=y_true[chosen],
        test=_stratified(test_y, data.test_limit, num_classes),
    )


def train_size(train_y: Indices, data: DataConfig, bias: BiasConfig) -> int:
    """Return N, the size of the training set that `make_split` makes, without making it.

    Raises:
        DataError: a class has too few images.
    """
    classes = _classes(train_y, data.meta_per_class, int(train_y.max()) + 1)
    pools = [members[data.meta_per_class :] for members in classes]
    size = sum(_kept_counts(pools, data, bias.imbalance))
    return min(size, data.train_limit or size)


def _take_meta(
    y: Indices, per_class: int, seed: int, num_classes: int
) -> tuple[Indices, list[Indices]]:
    """Return the meta set, and what is left of each class, (K,)."""
    shuffled = _shuffled(_classes(y, per_class, num_classes), numpy_stream(seed, "split.meta"))
    meta = np.sort(np.concatenate([members[:per_class] for members in shuffled]))
    return meta, [np.sort(members[per_class:]) for members in shuffled]


def _classes(y: Indices, per_class: int, num_classes: int) -> list[Indices]:
    """Return the images of each class, (K,), refusing a meta set that leaves none of one."""
    classes = [np.flatnonzero(y == k) for k in range(num_classes)]
    for k, members in enumerate(classes):
        if len(members) <= per_class:
            raise DataError(
                f"data.meta_per_class={per_class}: class {k} has {len(members)} training images; "
                f"allowed is at most {len(members) - 1}, which leaves one to train on"
            )
    return classes


def _shuffled(classes: Sequence[Indices], stream: np.random.Generator) -> list[Indices]:
    return [stream.permutation(members) for members in classes]


def _kept_counts(pools: Sequence[Indices], data: DataConfig, imbalance: float) -> list[int]:
    """Return how many images each class keeps, (K,); class 0 is the largest.

    The profile starts from the smallest class, so that an imbalance of 1 is exactly balanced, but
    for data that has an imbalance of its own: there 1 keeps it.
    """
    limit = data.per_class_limit
    if data.is_biased_already and imbalance == 1:
        return [len(pool) if limit is None else min(len(pool), limit) for pool in pools]
    largest = min(len(pool) for pool in pools)
    if limit is not None:
        largest = min(largest, limit)
    counts = long_tail_counts(largest, len(pools), imbalance)
    if 0 in counts:
        raise DataError(
            f"bias.imbalance={imbalance:g}: the largest class has {largest} images, so none is "
            f"left of class {counts.index(0)}; allowed is less than {largest}. Lower it, or set "
            f"fewer data.meta_per_class or more data.per_class_limit (now {limit})"
        )
    return counts


def _limited(size: int, limit: int | None, seed: int) -> Indices:
    """Return the sorted positions of a random subset of the biased set, or all of them."""
    left = size if limit is None else min(size, limit)
    if left < FEWEST:
        raise DataError(
            f"data.train_limit={limit} leaves {left} of {size} training samples; "
            f"allowed is at least {FEWEST}"
        )
    return np.sort(numpy_stream(seed, "split.train_limit").permutation(size)[:left])


def _stratified(y: Indices, limit: int | None, num_classes: int) -> Indices:
    """Return sorted indices of at most `limit` test images, each class by its share.

    Each class is shuffled and spread evenly over 0 to 1; the images that come first are taken.
    """
    stream = numpy_stream(TEST_SEED, "split.test")
    place = np.empty(len(y))
    for k in range(num_classes):
        members = stream.permutation(np.flatnonzero(y == k))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((stream.random(len(y)), place))  # equal places: in random order
    return np.sort(order[:limit])
