"""Images, by name: the sources, and the split of a biased training set.

Nothing here imports PyTorch, so that planning can ask for digests and labels; `sets` does.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.config.data import TABLE_SIZES
from curvetune.config.plugins import PLUGINS
from curvetune.data import cifar, digits, duplicates
from curvetune.data.folder import Folder
from curvetune.data.loaded import source_of
from curvetune.data.source import ClassSizes, Dataset, Images, Source
from curvetune.data.stream.report import OnBad, Report
from curvetune.data.tables.source import TableSource
from curvetune.errors import ConfigError, nearest

__all__ = [
    "OWN",
    "SOURCES",
    "ClassSizes",
    "Dataset",
    "Folder",
    "Images",
    "OnBad",
    "Report",
    "Source",
    "TableSource",
    "copies_in",
    "digest",
    "find_source",
    "load",
    "train_labels",
]

OWN = (Folder, TableSource)  # images that people bring: they have files and a report

SOURCES: dict[str, Source] = {
    "digits": digits,
    "cifar10": cifar.CIFAR10,
    "cifar100": cifar.CIFAR100,
    "folder": Folder(),
    **{name: TableSource(name, size) for name, size in TABLE_SIZES.items()},
}


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Return all images of source `name`, downloading what has no `data_dir` and no copy yet.

    Raises:
        DataError: the files are missing or bad, or the download failed.
    """
    return find_source(name).load(data_dir)


def train_labels(name: str, data_dir: Path | None = None) -> NDArray[np.int64] | None:
    """Return the labels of the training images, (N,), without decoding an image.

    None means that the download is still to be made.

    Raises:
        DataError: the files are missing or bad.
    """
    return find_source(name).train_labels(data_dir)


def digest(name: str, data_dir: Path | None = None) -> str:
    """Return hexadecimal digits that tell the content, but not the place, of source `name`.

    Raises:
        DataError: the files are missing.
    """
    return find_source(name).digest(data_dir)


def copies_in(dataset: Dataset) -> list[str]:
    """Return what images there are more than once, in words."""
    train, test = ((part.x, part.y) for part in (dataset.train, dataset.test))
    samples = duplicates.samples_of(train, test, dataset.class_names)
    return duplicates.words(duplicates.copies_of(list(samples)))


def find_source(
    name: str, *, image_size: int = 32, on_bad: OnBad = "fail", variant: str | None = None
) -> Source:
    """Return source `name`; of these options only images of one's own know what to do with.

    Raises:
        ConfigError: there is no such source.
    """
    if name in PLUGINS.sources:
        return source_of(name, PLUGINS.sources[name])
    if name not in SOURCES:
        allowed = [*SOURCES, *PLUGINS.sources]
        raise ConfigError(
            f"data.name: unknown source {name!r}{nearest(name, allowed)}; "
            f"allowed are {', '.join(allowed)}"
        )
    # a new one each time: it remembers what it has seen of the folder
    if name in TABLE_SIZES:
        return TableSource(name, image_size, on_bad, variant)
    return Folder(image_size, on_bad) if name == "folder" else SOURCES[name]
