"""Images that are there more than once: in train and test, or under two labels.

Two images are the same picture if their pixels are, at the size that is trained on: to a classifier
they are one input. Files of the same bytes always are; a copy in another format often is. Only
given labels are compared, so nothing here tells which of two labels is wrong.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from curvetune.data.pixels import Pixels
from curvetune.data.sets.reading import as_pixels, reading
from curvetune.errors import printable

AT_ONCE = 64  # images that are held
NAMED = 5  # pictures that are named in words


@dataclass(frozen=True)
class Sample:
    """An image of a data set, as far as it is compared."""

    name: str  # its file, or its place in the data
    is_test: bool
    label: str  # the name of its given class
    content: str  # digest of its pixels
    file_sum: str = ""  # digest of its file; empty where it is not a file


class _Pair(BaseModel):
    test: str
    train: str


class _Labelled(BaseModel):
    image: str
    label: str


class _Told(BaseModel):
    """What `Copies.to_json` returns, as it is checked when it is read."""

    test_images: int
    test_images_in_train: int
    of_the_same_bytes: int
    repeated_training_images: int
    test_and_train: list[_Pair]
    two_labels: list[list[_Labelled]]


@dataclass(frozen=True)
class Copies:
    """What a data set has more than once. Each picture is the names and labels of its images."""

    test: int  # test images in all
    in_train: int  # of those, how many are training images too
    same_bytes: int  # of those, how many are the same file; the others are only the same picture
    repeated: int  # training images that are a further copy of another one
    pairs: tuple[tuple[str, str], ...]  # a test image and its training image, the first NAMED
    two_labels: tuple[tuple[tuple[str, str], ...], ...]  # pictures with several labels

    def to_json(self) -> dict[str, Any]:
        """Return it for people's programs; all pictures with several labels, names as text."""
        return {
            "test_images": self.test,
            "test_images_in_train": self.in_train,
            "of_the_same_bytes": self.same_bytes,
            "repeated_training_images": self.repeated,
            "test_and_train": [
                {"test": printable(test), "train": printable(train)} for test, train in self.pairs
            ],
            "two_labels": [
                [{"image": printable(name), "label": printable(label)} for name, label in picture]
                for picture in self.two_labels
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` told of.

        Raises:
            ValueError: it is something else.
        """
        found = _Told.model_validate(content)
        return cls(
            found.test_images,
            found.test_images_in_train,
            found.of_the_same_bytes,
            found.repeated_training_images,
            tuple((pair.test, pair.train) for pair in found.test_and_train),
            tuple(tuple((one.image, one.label) for one in picture) for picture in found.two_labels),
        )


def copies_of(samples: Sequence[Sample]) -> Copies:
    """Return what is there more than once among `samples`, in their order."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.content, []).append(sample)
    in_train, same_bytes, repeated, pairs = 0, 0, 0, list[tuple[str, str]]()
    conflicts = []
    for group in groups.values():
        if len(group) < 2:
            continue
        train = [one for one in group if not one.is_test]
        repeated += max(len(train) - 1, 0)
        for test in (one for one in group if one.is_test and train):
            twin = next((one for one in train if one.file_sum == test.file_sum), None)
            same_bytes += twin is not None and test.file_sum != ""
            in_train += 1
            pairs.append((test.name, (twin or train[0]).name))
        if len({one.label for one in group}) > 1:
            conflicts.append(tuple((one.name, one.label) for one in group))
    test_images = sum(one.is_test for one in samples)
    return Copies(
        test_images, in_train, same_bytes, repeated, tuple(pairs[:NAMED]), tuple(conflicts)
    )


def words(copies: Copies) -> list[str]:
    """Return what a reader of accuracies must know of a data set, a sentence each."""
    lines = []
    if copies.in_train:
        other = copies.in_train - copies.same_bytes
        how = f" (same file {copies.same_bytes:,}, same picture {other:,})"
        test, train = copies.pairs[0]
        lines.append(
            f"{copies.in_train:,} of {copies.test:,} test images are training images too"
            f"{how if copies.same_bytes else ''}, so accuracies are too high; for example "
            f"{printable(test)} = {printable(train)}"
        )
    if copies.repeated == 1:
        lines.append("1 training image is a further copy of another one")
    elif copies.repeated:
        lines.append(f"{copies.repeated:,} training images are further copies of others")
    if copies.two_labels:
        n = len(copies.two_labels)
        shown = "; ".join(map(_picture, copies.two_labels[:NAMED]))
        lines.append(
            f"{n:,} {'pictures have' if n > 1 else 'picture has'} more than one label: "
            f"{shown}{'; …' if n > NAMED else ''}"
        )
    return lines


def contents(images: NDArray[np.uint8] | Pixels) -> Iterator[str]:
    """Yield a digest of the pixels of each image, (N, C, H, W); few are held at once."""
    with reading(as_pixels(images).read(np.arange(len(images)), AT_ONCE)) as batches:
        for batch in batches:
            yield from map(content, batch)


def content(image: NDArray[np.uint8]) -> str:
    """Return a digest of the pixels of an image, (C, H, W)."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()[:32]


def samples_of(
    train: tuple[NDArray[np.uint8] | Pixels, NDArray[np.int64]],
    test: tuple[NDArray[np.uint8] | Pixels, NDArray[np.int64]],
    class_names: Sequence[str],
) -> Iterator[Sample]:
    """Yield the images of a data set that are not files: pixels (N, C, H, W) and labels (N,)."""
    for is_test, (x, y) in ((False, train), (True, test)):
        where = "test" if is_test else "train"
        for k, (digest, label) in enumerate(zip(contents(x), y.tolist(), strict=True)):
            yield Sample(f"{where} {k}", is_test, class_names[label], digest)


def in_conflict(images: NDArray[np.uint8] | Pixels, y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are the same picture as one with another given label, (N,).

    Args:
        images: (N, C, H, W).
        y: given labels, (N,).
    """
    digests = np.fromiter(contents(images), "S32", len(y))
    _, first, picture = np.unique(digests, return_index=True, return_inverse=True)
    differs = y != y[first][picture]  # from the first sample of the same picture
    conflicts = np.zeros(len(first), np.bool_)
    conflicts[picture[differs]] = True
    return conflicts[picture]


def _picture(picture: Sequence[tuple[str, str]], longest: int = 4) -> str:
    named = [f"{printable(name)} ({printable(label, 40)})" for name, label in picture]
    return ", ".join([*named[:longest], *(["…"] if len(named) > longest else [])])
