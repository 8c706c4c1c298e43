"""Images that people bring, of any number: what folders of images and tables have in common."""

import functools
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.data.stream.indexing import Indexed
from curvetune.data.stream.report import OnBad, Report
from curvetune.data.tables.table import Table

# Of ImageNet's pixels, times 255, as in every model zoo; batch normalisation does the rest.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class OwnImages(ABC):
    """A `Source` that looks at its images once."""

    def __init__(self, name: str, image_size: int = 32, on_bad: OnBad = "fail") -> None:
        """Resize images to `image_size`; leave bad ones out if `on_bad` is skip."""
        self.name = name
        self.image_size = image_size
        self.on_bad = on_bad
        self._found = functools.cache(self._look)

    @abstractmethod
    def _look(self, data_dir: Path | None) -> Indexed:
        """Return the images that can be used, and what became of the others.

        Raises:
            DataError: there are none, a class has none, or some are bad.
        """

    def load(self, data_dir: Path | None) -> Dataset:
        """Return the images.

        Raises:
            DataError: there are none, a class has none, or some are bad.
        """
        found = self._found(data_dir)
        table, x, n = found.table, found.pixels, found.table.train
        return Dataset(
            name=self.name,
            train=Images(x.part(np.arange(n)), table.y[:n]),
            test=Images(x.part(np.arange(n, len(x))), table.y[n:]),
            class_names=table.class_names,
            mean=MEAN,
            std=STD,
            pad=self.image_size // 8,  # 4 of 32, as for CIFAR
            flip=True,
            y_true=table.y_true,
            verified=table.verified,
            clean=table.clean,
        )

    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64]:
        """Return the labels of the training images, (N,)."""
        table = self._found(data_dir).table
        return table.y[: table.train]

    def sizes(self, data_dir: Path | None) -> ClassSizes:
        """Return how many images of each class are used, and of the clean set."""
        table = self._found(data_dir).table
        y, n = table.y, table.train
        return ClassSizes.of(y[:n], y[n:], len(table.class_names), table.clean)

    def digest(self, data_dir: Path | None) -> str:
        """Return a digest of the used images' names, labels and bytes, wherever they are."""
        return self._found(data_dir).digest

    def train_files(self, data_dir: Path | None) -> tuple[str, ...]:
        """Return what each training image is called, (N,): its file, or its row or member there."""
        table = self._found(data_dir).table
        return tuple(table.encoded.name(k) for k in range(table.train))

    def table(self, data_dir: Path | None) -> Table:
        """Return the rows of the images that are used."""
        return self._found(data_dir).table

    def report(self, data_dir: Path | None) -> Report:
        """Return what became of the images."""
        return self._found(data_dir).report
