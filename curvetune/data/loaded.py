"""A source of images that a plugin gives as one function."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvetune.data.source import ClassSizes, Dataset, Source


class LoadedSource:
    """Answers all that is asked of a source from the whole of its images, loaded once."""

    def __init__(self, load: Callable[[Path | None], Dataset]) -> None:
        self._load = load
        self._loaded: dict[Path | None, Dataset] = {}

    def load(self, data_dir: Path | None) -> Dataset:
        """Return all images."""
        if data_dir not in self._loaded:
            self._loaded[data_dir] = self._load(data_dir)
        return self._loaded[data_dir]

    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64] | None:
        """Return the labels of the training images, (N,)."""
        return self.load(data_dir).train.y

    def sizes(self, data_dir: Path | None) -> ClassSizes:
        """Return how many images of each class there are."""
        found = self.load(data_dir)
        return ClassSizes.of(found.train.y, found.test.y, found.num_classes)

    def digest(self, data_dir: Path | None) -> str:
        """Return hexadecimal digits of all images, labels and facts."""
        found = self.load(data_dir)
        digest = hashlib.sha256()
        facts: tuple[Any, ...] = (found.class_names, found.mean, found.std, found.pad, found.flip)
        digest.update(repr(facts).encode())
        for images in (found.train, found.test):
            for array in (images.x, images.y):
                digest.update(f"{array.shape} {array.dtype}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


@cache  # so that its images are loaded once
def source_of(made: Any) -> Source:
    """Return the source that a plugin gives: an object that has all calls, or one function."""
    if hasattr(made, "load"):
        found: Source = made
        return found
    return LoadedSource(made)
