"""A source whose images are rows of a table (data/tables/), each read where it lies.

    --data-dir DIR   needed

Labels and class sizes are taken as they are, as those of a folder. A clean set that comes with the
data is where the meta set is drawn from, and is never trained on. True labels that are known judge
how well wrong ones are found, and nothing else.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data.folder import MEAN, STD, OnBad, Report
from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.data.stream import Indexed, index
from curvetune.data.tables import FORMS, read_table
from curvetune.data.tables.rows import checked
from curvetune.errors import DataError


class TableSource:
    """The images of one form of data; a `Source`. It looks at them once."""

    def __init__(
        self,
        name: str,
        image_size: int = 32,
        on_bad: OnBad = "fail",
        variant: str | None = None,
    ) -> None:
        """Resize images to `image_size`; leave bad ones out if `on_bad` is skip."""
        self.name = name
        self.image_size = image_size
        self.on_bad = on_bad
        self.variant = variant
        self._found = functools.cache(self._indexed)

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
        """Return a digest of the used rows and their bytes, wherever they are."""
        return self._found(data_dir).digest

    def train_files(self, data_dir: Path | None) -> tuple[str, ...]:
        """Return what each training image is called, (N,): its file, or its row or member there."""
        table = self._found(data_dir).table
        return tuple(table.encoded.name(k) for k in range(table.train))

    def report(self, data_dir: Path | None) -> Report:
        """Return what became of the images."""
        return self._found(data_dir).report

    def _indexed(self, data_dir: Path | None) -> Indexed:
        table = read_table(self.name, data_dir, self.variant)
        assert data_dir is not None, "read_table says so"
        try:
            found = index(table, self.image_size, self.on_bad)
        except DataError as error:
            raise DataError(f"data.name={self.name}: {error}") from None
        checked(found.table, data_dir)
        facts = (f"{self.name}: {FORMS[self.name].what}", *_known(found))
        return replace(found, report=replace(found.report, facts=facts))


def _known(found: Indexed) -> list[str]:
    """Return what is known beside given labels, in words."""
    table = found.table
    lines = []
    if table.clean is not None:
        lines.append(f"{len(table.clean):,} of the training images are a clean set")
    if table.verified is not None:
        right, wrong = (int((table.verified == flag).sum()) for flag in (1, 0))
        lines.append(f"verified: {right:,} labels as right, {wrong:,} as wrong")
    if table.y_true is not None:
        known = int((table.y_true != -1).sum())
        lines.append(f"of {known:,} training images it is known whether their label is right")
    return lines
