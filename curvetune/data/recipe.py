"""How the images of a cell are fed to its classifier, where its config says so."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from curvetune.config import DataConfig
from curvetune.data import cache
from curvetune.data.pixels import Pixels
from curvetune.data.source import Dataset

AT_ONCE = 64  # images looked at for their statistics

Values = tuple[float, ...]  # (C,)


def fed(dataset: Dataset, data: DataConfig, digest: str) -> Dataset:
    """Return the same images as a cell with this config is fed with them.

    Args:
        digest: of the data's content.
    """
    if data.statistics == "own":
        mean, std = _known_statistics(dataset.train.x, digest)
        dataset = replace(dataset, mean=mean, std=std)
    return cropped(dataset, data.crop_size)


def cropped(dataset: Dataset, crop_size: int | None) -> Dataset:
    """Return the same images with that crop, if any, in the shape that a classifier gets."""
    if crop_size is None:
        return dataset
    return replace(dataset, crop=crop_size, pad=0)


def statistics_of(x: NDArray[np.uint8] | Pixels) -> tuple[Values, Values]:
    """Return the mean and the standard deviation of each channel of images, exactly.

    Only a few images are held at once. A channel of one value has a deviation of 1, since images
    are divided by it.
    """
    counts = np.zeros((x.shape[1], 256), np.int64)
    for batch in _batches(x):
        for channel, row in enumerate(counts):
            row += np.bincount(batch[:, channel].ravel(), minlength=256)
    means, deviations = zip(*map(_moments, counts.tolist()), strict=True)
    return means, deviations


def _moments(counts: list[int]) -> tuple[float, float]:
    """Return mean and standard deviation of 0 to 255, each as often as `counts` says."""
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    variance = (total * second - first * first) / (total * total)  # of whole numbers: exact
    return first / total, variance**0.5 or 1.0


def _known_statistics(x: NDArray[np.uint8] | Pixels, digest: str) -> tuple[Values, Values]:
    """Return `statistics_of`, looked up if this machine has computed them already."""

    def computed() -> NDArray[np.uint8]:
        return np.frombuffer(json.dumps(statistics_of(x)).encode(), np.uint8).copy()

    shape = "x".join(map(str, x.shape))
    mean, std = json.loads(cache.kept(f"{digest}-{shape}-statistics", computed).tobytes())
    return tuple(mean), tuple(std)


def _batches(x: NDArray[np.uint8] | Pixels) -> Iterator[NDArray[np.uint8]]:
    if isinstance(x, np.ndarray):
        return (x[start : start + AT_ONCE] for start in range(0, len(x), AT_ONCE))
    return x.read(np.arange(len(x)), AT_ONCE)
