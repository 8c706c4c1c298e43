"""Sources of images that plugins give: as one function, or as an object with all calls."""

import hashlib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from curvetune.config.plugins import PluginRef, Registered
from curvetune.data.source import ClassSizes, Dataset, Source
from curvetune.errors import CurvetuneError, DataError, printable
from curvetune.plugins.load import blame

T = TypeVar("T")


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
        facts += () if found.crop is None else (found.crop,)
        digest.update(repr(facts).encode())
        for images in (found.train, found.test):
            for array in (np.asarray(images.x), images.y):  # arrays, which `flaw` made sure of
                digest.update(f"{array.shape} {array.dtype}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


class PluginSource:
    """A source of a plugin, which says what is wrong with it where it fails.

    Args:
        name: what the plugin calls it.
        ref: the plugin.
        given: has all calls of a source.
    """

    def __init__(self, name: str, ref: PluginRef, given: Source) -> None:
        self._name, self._ref, self._given = name, ref, given

    def load(self, data_dir: Path | None) -> Dataset:
        """Return all images, which have the types and shapes that training relies on."""
        found = self._asked(self._given.load, data_dir)
        if (wrong := flaw(found)) is not None:
            raise DataError(f"data.name={self._name}: {wrong}; mend it in {self._ref}")
        return found

    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64] | None:
        """Return the labels of the training images, (N,), or None."""
        return self._asked(self._given.train_labels, data_dir)

    def sizes(self, data_dir: Path | None) -> ClassSizes:
        """Return how many images of each class there are."""
        return self._asked(self._given.sizes, data_dir)

    def digest(self, data_dir: Path | None) -> str:
        """Return hexadecimal digits that tell the content, but not the place."""
        self._check_once(data_dir)
        return self._asked(self._given.digest, data_dir)

    def _check_once(self, data_dir: Path | None) -> None:
        """Refuse wrong images of a source that is one function before anything is made of them."""
        if isinstance(self._given, LoadedSource):
            self.load(data_dir)

    def _asked(self, call: Callable[[Path | None], T], data_dir: Path | None) -> T:
        """Call what others wrote.

        Raises:
            DataError: it failed; with the line of the plugin.
        """
        try:
            with redirect_stdout(sys.stderr):  # stdout is for a command's own result
                return call(data_dir)
        except CurvetuneError:
            raise
        except Exception as error:
            place = "no --data-dir" if data_dir is None else f"--data-dir {printable(data_dir)}"
            raise DataError(
                f"data.name={self._name}: its source failed with {place}: "
                f"{blame(self._ref, error)}; give the folder that it reads with --data-dir, or "
                f"mend that line"
            ) from error


def flaw(found: Any) -> str | None:
    """Return what of a dataset is not as `Dataset` says; None if all is."""
    if not isinstance(found, Dataset):
        return f"it gives {type(found).__name__}; allowed is a curvetune.data.source.Dataset"
    for word, images in (("train", found.train), ("test", found.test)):
        x, y = (cast(object, array) for array in (images.x, images.y))  # others wrote them
        if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
            return f"{word}: x is {type(x).__name__}, y is {type(y).__name__}; allowed are arrays"
        if x.dtype != np.uint8 or x.ndim != 4 or y.ndim != 1 or len(x) != len(y):
            return (
                f"{word}: images {x.shape} {x.dtype} and labels {y.shape}; "
                f"they have to be (N, C, H, W) uint8 and (N,)"
            )
        if y.dtype != np.int64:
            return f"{word}: labels are {y.dtype}; they have to be int64, as of .astype('int64')"
        if len(y) and not 0 <= y.min() <= y.max() < found.num_classes:
            return (
                f"{word}: labels go from {y.min()} to {y.max()}; with {found.num_classes} "
                f"class_names they have to be 0 to {found.num_classes - 1}"
            )
    channels, means, stds = found.train.x.shape[1], len(found.mean), len(found.std)
    if not channels == means == stds:
        return (
            f"images (N, C, H, W) are {found.train.x.shape}, so C is {channels}, with {means} "
            f"mean(s) and {stds} std(s); there has to be one of each for a channel"
        )
    return _flaw_of_crop(found)


def _flaw_of_crop(found: Dataset) -> str | None:
    smallest = min(found.train.x.shape[-2:])
    if found.crop is not None and not 0 < found.crop <= smallest:
        return f"crop is {found.crop}; images of {smallest} pixels allow 1 to {smallest}, or None"
    return None


def source_of(name: str, found: Registered) -> PluginSource:
    """Return a source that a plugin has registered: an object with all calls, or one function."""
    return PluginSource(name, found.ref, _given(found.made_by))


@cache  # so that its images are loaded once
def _given(made: Any) -> Source:
    given: Source = made if hasattr(made, "load") else LoadedSource(made)
    return given
