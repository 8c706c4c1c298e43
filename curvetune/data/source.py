"""What a data source gives: images as raw uint8, and the facts that training needs about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Images:
    """Some images and their labels."""

    x: NDArray[np.uint8] | Pixels  # (N, C, H, W)
    y: NDArray[np.int64]  # (N,), labels as the data has them

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set, a test set, and how to feed them to a classifier."""

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]  # (K,)
    mean: tuple[float, ...]  # (C,), subtracted from the raw values
    std: tuple[float, ...]  # (C,), then divides them
    pad: int  # pixels reflected around the image before a random crop of its size
    flip: bool  # whether a mirrored image is of the same class
    # What some sets know beside, of the images to train on: as in `Table`
    y_true: NDArray[np.int64] | None = None
    verified: NDArray[np.int8] | None = None
    clean: NDArray[np.int64] | None = None
    # Labels that people gave to the images to train on, (N,) of each kind of noise (human.py)
    human: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    # Size of a random resized crop, which then takes the place of pad; images are larger than it
    crop: int | None = None
    white: int = 255  # the raw value of the brightest pixel

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what a classifier sees."""
        channels, height, width = self.train.x.shape[1:]
        return (channels, height, width) if self.crop is None else (channels, self.crop, self.crop)

    def without_test(self) -> Self:
        """Return the same data with no test image and no test label, and touch none."""
        x = np.empty((0, *self.train.x.shape[1:]), np.uint8)
        return replace(self, test=Images(x, np.empty(0, np.int64)))


@dataclass(frozen=True)
class ClassSizes:
    """How many images of each class there are, (K,)."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    clean: tuple[int, ...] | None = None  # of a clean set of its own, which `train` is without

    @classmethod
    def of(
        cls,
        train_y: NDArray[np.int64],
        test_y: NDArray[np.int64],
        num_classes: int,
        clean: NDArray[np.int64] | None = None,
    ) -> Self:
        """Count labels, (N,) each; `clean` are the positions of a clean set in the first."""
        given = [train_y, test_y]
        if clean is not None:
            given = [np.delete(train_y, clean), test_y, train_y[clean]]
        counted = (np.bincount(y, minlength=num_classes).tolist() for y in given)
        return cls(*map(tuple, counted))

    def to_json(self) -> dict[str, list[int]]:
        """Return those to train and to test on, as a storage remembers them."""
        return {"train": [*self.train], "test": [*self.test]}


class Source(Protocol):
    """A place that images come from; `data_dir` is the user's --data-dir, None if not given."""

    def load(self, data_dir: Path | None) -> Dataset: ...
    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64] | None: ...
    def sizes(self, data_dir: Path | None) -> ClassSizes: ...
    def digest(self, data_dir: Path | None) -> str: ...
