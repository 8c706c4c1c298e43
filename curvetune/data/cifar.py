"""CIFAR-10 and CIFAR-100, from Hugging Face's Parquet files or from the original archive.

    --data-dir D   D/<name> or D holds {train,test}-*.parquet (columns img{bytes, path} and label,
                   or fine_label), or cifar-10-batches-py, or cifar-100-python
    without it     torchvision downloads the archive, once, into $CURVETUNE_CACHE

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvetune.data import cache, parquet
from curvetune.data.own.look_alikes import is_all_of, why_not
from curvetune.data.people.labels import labels_or_none
from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.errors import DataError, printable

SIZE = 32
# Of the raw pixels; CurveNet-V1 (feeder/feeder.py) uses CIFAR-10's for both data sets.
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)


@dataclass(frozen=True)
class Archive:
    """The original archive: pickled batches, each with the MD5 that torchvision publishes."""

    folder: str
    train: tuple[tuple[str, str], ...]  # (file name, MD5), in order
    test: tuple[tuple[str, str], ...]
    meta: tuple[str, str]
    labels: str  # key of the labels in a batch
    names: str  # key of the class names in `meta`
    sizes: ClassSizes  # of the published files


@dataclass(frozen=True)
class Shards:
    """The Parquet files, in order."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets; a `Source`."""

    name: str
    column: str  # of the labels, in Parquet
    archive: Archive

    def load(self, data_dir: Path | None) -> Dataset:
        """Return the images, downloading them first if there is no `data_dir` and no copy yet.

        Raises:
            DataError: the files are missing or bad, or the download failed.
        """
        found = self._find(data_dir) or self._download()
        if isinstance(found, Shards):
            names = parquet.class_names(found.train[0], self.column)
            train, test = (
                parquet.read_images(files, self.column, names, (SIZE, SIZE))
                for files in (found.train, found.test)
            )
        else:
            names = tuple(_unpickle(found, self.archive.meta)[self.archive.names])
            train, test = (
                _read_batches(found, files, self.archive.labels)
                for files in (self.archive.train, self.archive.test)
            )
        human = labels_or_none(self.name, data_dir, train.y)
        return Dataset(self.name, train, test, names, MEAN, STD, pad=4, flip=True, human=human)

    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64] | None:
        """Return the labels of the training images, (N,), or None before the download.

        Raises:
            DataError: the files are missing or bad.
        """
        found = self._find(data_dir)
        if found is None:
            return None
        if isinstance(found, Shards):
            names = parquet.class_names(found.train[0], self.column)
            return parquet.read_labels(found.train, self.column, names)
        return _read_batches(found, self.archive.train, self.archive.labels).y

    def sizes(self, data_dir: Path | None) -> ClassSizes:
        """Return how many images of each class there are; before the download, will be.

        Raises:
            DataError: the files are missing or bad.
        """
        found = self._find(data_dir)
        if found is None:
            return self.archive.sizes
        if isinstance(found, Shards):
            names = parquet.class_names(found.train[0], self.column)
            train, test = (
                parquet.read_labels(files, self.column, names)
                for files in (found.train, found.test)
            )
            return ClassSizes.of(train, test, len(names))
        train, test = (
            _read_batches(found, files, self.archive.labels).y
            for files in (self.archive.train, self.archive.test)
        )
        return ClassSizes.of(train, test, len(self.archive.sizes.train))

    def digest(self, data_dir: Path | None) -> str:
        """Return a digest of the content, wherever it lies; the archive's is known beforehand.

        Raises:
            DataError: the files are missing.
        """
        found = self._find(data_dir)
        if isinstance(found, Shards):
            return parquet.digest([*found.train, *found.test])
        # Reading the archive checks every file against these, so they are its content.
        md5s = [md5 for _, md5 in (*self.archive.train, *self.archive.test)]
        return hashlib.sha256("\n".join(md5s).encode()).hexdigest()

    def finds(self, data_dir: Path) -> bool:
        """Say whether a folder looks like it, by the names of its files and of its classes."""
        try:
            found = self._find(data_dir)
            if not isinstance(found, Shards):
                return found is not None
            names = parquet.class_names(found.train[0], self.column)
        except DataError:  # of something else
            return False
        return is_all_of(self.name, names)

    def shards(self, data_dir: Path) -> Shards | None:
        """Return the Parquet files in a folder, or None where it has the archive.

        Raises:
            DataError: it has neither.
        """
        found = self._find(data_dir)
        return found if isinstance(found, Shards) else None

    def _find(self, data_dir: Path | None) -> Shards | Path | None:
        """Return the Parquet files, or the archive's folder, or None before the download."""
        if data_dir is None:
            folder = cache.folder() / self.archive.folder
            # os.path, since Path.is_dir raises in a home that is closed to this user
            return folder if os.path.isdir(folder) else None
        for folder in (data_dir / self.name, data_dir):
            train, test = (parquet.find_shards(folder, split) for split in ("train", "test"))
            if train and test:
                if (reason := why_not(self.name, self.column, train[0])) is not None:
                    raise DataError(
                        f"--data-dir {printable(data_dir)}: not {self.name}: {reason}. Files like "
                        f"these are read with `curvetune grid folder --set data.name=hf --data-dir "
                        f"{printable(folder)}`; `curvetune data check` says what they are"
                    )
                return Shards(train, test)
            if (folder / self.archive.folder).is_dir():
                return folder / self.archive.folder
        raise DataError(
            f"--data-dir {data_dir}: no {self.name} there; looked, in it and in its folder "
            f"{self.name}, for train-*.parquet with test-*.parquet and for "
            f"{self.archive.folder}. Give the folder that holds them, or leave --data-dir out "
            f"to download {self.name}"
        )

    def _download(self) -> Path:
        """Return the archive's folder in the cache, filled by torchvision.

        It is filled under another name and then renamed, so that it is whole or absent: several
        trials may download at once, and any may be killed.
        """
        from torchvision import datasets  # inside: it imports torch, which planning must not

        loader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.name]
        target = cache.folder() / self.archive.folder
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                loader(temporary, download=True)
                _move(Path(temporary, self.archive.folder), target)
        except (OSError, RuntimeError) as error:  # RuntimeError: not the MD5 that it should have
            raise DataError(
                f"data {self.name}: the download into {target.parent} failed ({error}); try again, "
                f"or give the folder of a copy with --data-dir"
            ) from error
        return target


def _move(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`, unless another process has put its own there."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _read_batches(folder: Path, files: Sequence[tuple[str, str]], labels: str) -> Images:
    batches = [_unpickle(folder, file) for file in files]
    x = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, SIZE, SIZE)
    return Images(x, np.concatenate([batch[labels] for batch in batches]).astype(np.int64))


def _unpickle(folder: Path, file: tuple[str, str]) -> dict[str, Any]:
    """Return the content of one of the archive's pickles, once its MD5 is the published one.

    A pickle can run any code, so nothing else is ever unpickled. torchvision's own reader does
    the same, but importing it takes seconds, which planning (`train_labels`) must not pay.
    """
    name, published = file
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); delete {folder} and download it again"
        ) from None
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != published:
        raise DataError(
            f"{path}: its MD5 is {md5}, allowed is the published {published}; delete {folder} "
            f"and download it again"
        )
    batch: dict[str, Any] = pickle.loads(content, encoding="latin1")
    return batch


# File names and MD5s: torchvision/datasets/cifar.py, CIFAR10 and CIFAR100 (torchvision 0.29).
CIFAR10 = Cifar(
    name="cifar10",
    column="label",
    archive=Archive(
        folder="cifar-10-batches-py",
        train=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ),
        test=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
        meta=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        labels="labels",
        names="label_names",
        sizes=ClassSizes((5000,) * 10, (1000,) * 10),
    ),
)
CIFAR100 = Cifar(
    name="cifar100",
    column="fine_label",
    archive=Archive(
        folder="cifar-100-python",
        train=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
        test=(("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
        meta=("meta", "7973b15100ade9c7d40fb424638fde48"),
        labels="fine_labels",
        names="fine_label_names",
        sizes=ClassSizes((500,) * 100, (100,) * 100),
    ),
)
