"""What a config takes of each class, and every reason why the data cannot give it.

All of it follows from class sizes alone, so a plan is refused in the words of the grid, before
anything is loaded.
"""

from collections.abc import Sequence

from curvetune.bias import long_tail_counts
from curvetune.bias.noise import fewest_classes
from curvetune.config import BiasConfig, DataConfig
from curvetune.data.source import ClassSizes
from curvetune.errors import DataError

FEWEST = 2  # samples to train on: batch normalisation has no variance of one
FEWEST_CLASSES = 2


def train_size(sizes: ClassSizes, data: DataConfig, bias: BiasConfig) -> int:
    """Return N, the size of the training set of every split with this config, without making one.

    Raises:
        DataError: there is no such split, for any seed.
    """
    if not sum(sizes.test) and data.validation is None:
        raise DataError(
            f"data.name={data.name}: there are no test images; at least 1 is needed: give the "
            f"--data-dir of files that have some"
        )
    kept = kept_counts(sizes.train, data, bias, sizes.clean)
    size = limited_size(sum(kept), data.train_limit)
    share = data.validation
    return size if share is None or share == "clean" else size - validation_size(size, share)


def kept_counts(
    sizes: Sequence[int], data: DataConfig, bias: BiasConfig, clean: Sequence[int] | None = None
) -> list[int]:
    """Return how many images each class keeps, (K,), before data.train_limit.

    Class 0 is the largest. The profile starts from the smallest class, so that an imbalance of 1 is
    exactly balanced, but for data that has an imbalance of its own: there 1 keeps it.

    Args:
        sizes: training images of each class, (K,).
        clean: images of each class in a clean set, (K,), if the data has one: then the meta set
            is of these, and takes nothing from `sizes`.

    Raises:
        DataError: the data has too few classes, or images of one.
    """
    _check_classes(len(sizes), data, bias)
    from_these = data.meta_per_class if clean is None else 0
    left = [_without_meta(k, size, from_these) for k, size in enumerate(sizes)]
    for k, size in enumerate(clean or ()):
        if size < data.meta_per_class:
            raise DataError(
                f"data.meta_per_class={data.meta_per_class}: class {k} has {size} images in the "
                f"clean set that the data comes with; allowed is at most {min(clean or ())}, the "
                f"fewest of a class: --set data.meta_per_class={min(clean or ())}"
            )
    limit = data.per_class_limit
    if limit is not None:
        left = [min(size, limit) for size in left]
    if data.is_biased_already and bias.imbalance == 1:
        return left
    largest = min(left)
    counts = long_tail_counts(largest, len(left), bias.imbalance)
    if 0 in counts:
        raise DataError(
            f"bias.imbalance={bias.imbalance:g}: the largest class has {largest} images, so none "
            f"is left of class {counts.index(0)}; allowed is less than {largest}. Lower it, or "
            f"set fewer data.meta_per_class or more data.per_class_limit (now {limit})"
        )
    return counts


def limited_size(size: int, limit: int | None) -> int:
    """Return how many of so many samples data.train_limit leaves.

    Raises:
        DataError: too few to train on.
    """
    left = size if limit is None else min(size, limit)
    if left < FEWEST:
        raise DataError(
            f"data.train_limit={limit} leaves {left} of {size} training samples; "
            f"allowed is at least {FEWEST}"
        )
    return left


def validation_size(size: int, share: float) -> int:
    """Return how many of so many samples are held out of training, to be evaluated on.

    Raises:
        DataError: none, or too few are left to train on.
    """
    held = round(size * share)
    if held < 1 or size - held < FEWEST:
        raise DataError(
            f"data.validation={share:g} holds out {held} of {size} training samples; needed is at "
            f"least 1, and {FEWEST} to train on: give another share, or more samples"
        )
    return held


def _check_classes(num_classes: int, data: DataConfig, bias: BiasConfig) -> None:
    if num_classes < FEWEST_CLASSES:
        raise DataError(
            f"data.name={data.name}: the data has {num_classes} classes; at least "
            f"{FEWEST_CLASSES} are needed"
        )
    fewest = fewest_classes(bias.noise)
    if bias.noise_rate and num_classes < fewest:
        raise DataError(
            f"bias.noise={bias.noise}: it needs at least {fewest} classes and the data has "
            f"{num_classes}; choose another kind of noise (--set noise=symmetric), or "
            f"bias.noise_rate=0, which is none"
        )


def _without_meta(k: int, size: int, per_class: int) -> int:
    """Return how many images of class k are left when its meta images are taken."""
    if size <= per_class:
        allowed = (
            f"allowed is at most {size - 1}, which leaves one to train on"
            if size
            else "every class needs at least one"
        )
        raise DataError(
            f"data.meta_per_class={per_class}: class {k} has {size} training images; {allowed}"
        )
    return size - per_class
