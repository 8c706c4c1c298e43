"""Anybody's images: a folder for each class (see listing.py), resized to one size.

    --data-dir DIR   needed

Labels are taken as they are: who knows that some are wrong says `bias: {noise: real}`, and an
imbalance of 1 keeps the class sizes. The meta set is drawn from the training images as for CIFAR,
so it is clean only if they are: choose methods that need none (`curvetune methods`), or
`method.meta=low_loss`, where they are not.

An image that cannot be decoded, or whose label is none, is bad. Bad images are an error, unless
`on_bad` is skip: then they are left out. The digest covers what is used, so leaving an image out
makes another data set.
"""

import functools
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray

from curvetune.data import cache, duplicates
from curvetune.data.decode import TURNED, BadImageError, decode
from curvetune.data.duplicates import Copies, Sample
from curvetune.data.listing import EXPECTED, LeftOut, Listed, is_plain_file, list_images
from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.errors import DataError, printable

OnBad = Literal["skip", "fail"]

# Of ImageNet's pixels, times 255, as in every model zoo; batch normalisation does the rest.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NAMED = 5  # bad files that an error names
VERSION = 2  # bumped by hand when a change of decode.py or listing.py changes pixels or verdicts


@dataclass(frozen=True)
class Report:
    """What became of the files of a folder."""

    train: int  # images used
    test: int
    classes: tuple[str, ...]
    converted: dict[str, int]  # what was converted, and how often
    bad: tuple[tuple[str, str], ...]  # (file, reason)
    left_out: LeftOut  # what is there and is not read
    counted: bool  # whether labels.csv counts the classes instead of naming them
    copies: Copies  # what is there more than once
    facts: tuple[str, ...] = ()  # what else there is to say of it

    def words(self) -> list[str]:
        """Return what people should know about it, a line each."""
        changed = ", ".join(f"{count:,} {what}" for what, count in self.converted.items())
        size = (
            f"{self.train:,} images to train on and {self.test:,} to test on, of "
            f"{len(self.classes)} classes"
        )
        lines = [f"{size}; converted: {changed}" if changed else size]
        if self.counted:
            shown = ", ".join(
                f"{k} is {printable(c, 40)}" for k, c in enumerate(self.classes[:NAMED])
            )
            more = ", …" if len(self.classes) > NAMED else ""
            lines.append(f"the labels in labels.csv count the classes: {shown}{more}")
        lines += [*self.facts, *self.left_out.words(), *duplicates.words(self.copies)]
        if self.bad:
            lines.append(f"left out: {len(self.bad):,} bad images (--on-bad skip)")
        lines += [f"  {printable(file)}: {reason}" for file, reason in self.bad[:NAMED]]
        if len(self.bad) > NAMED:
            lines.append(f"  and {len(self.bad) - NAMED:,} more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it for `plan --json`."""
        return {
            "train": self.train,
            "test": self.test,
            "classes": list(self.classes),
            "converted": self.converted,
            "bad": [{"file": file, "reason": reason} for file, reason in self.bad],
            "ignored_files": len(self.left_out.others),
            "ignored_named": list(self.left_out.others[:NAMED]),
            "images_not_read": self.left_out.unread,
            "images_beside": self.left_out.beside,
            "labels_count": self.counted,
            "copies": self.copies.to_json(),
        }


@dataclass(frozen=True, eq=False)
class _Content:
    """What a folder holds, decoded."""

    used: tuple[Listed, ...]
    sums: tuple[str, ...]  # SHA-256 of each used file
    pixels: NDArray[np.uint8]  # (N, 3, H, W), of the used files
    report: Report

    @property
    def y(self) -> NDArray[np.int64]:
        """The labels of the used files, (N,)."""
        number = {name: k for k, name in enumerate(self.report.classes)}
        return np.array([number[one.label] for one in self.used], np.int64)


class Folder:
    """The images of a folder; a `Source`. It looks at the folder once."""

    def __init__(self, image_size: int = 32, on_bad: OnBad = "fail") -> None:
        """Resize images to `image_size`; leave bad ones out if `on_bad` is skip."""
        self.image_size = image_size
        self.on_bad = on_bad
        self._read = functools.cache(_read)

    def load(self, data_dir: Path | None) -> Dataset:
        """Return the images.

        Raises:
            DataError: there are none, a class has none, or some are bad.
        """
        content = self._usable(data_dir)
        x, y, n = content.pixels, content.y, content.report.train
        return Dataset(
            name="folder",
            train=Images(x[:n], y[:n]),
            test=Images(x[n:], y[n:]),
            class_names=content.report.classes,
            mean=MEAN,
            std=STD,
            pad=self.image_size // 8,  # 4 of 32, as for CIFAR
            flip=True,
        )

    def train_labels(self, data_dir: Path | None) -> NDArray[np.int64]:
        """Return the labels of the training images, (N,)."""
        content = self._usable(data_dir)
        return content.y[: content.report.train]

    def sizes(self, data_dir: Path | None) -> ClassSizes:
        """Return how many images of each class are used."""
        content = self._usable(data_dir)
        y, n = content.y, content.report.train
        return ClassSizes.of(y[:n], y[n:], len(content.report.classes))

    def digest(self, data_dir: Path | None) -> str:
        """Return a digest of the used files' names, labels and bytes, wherever the folder is.

        Where a photograph is turned, that it is enters too: before version 2 none was.
        """
        content = self._usable(data_dir)
        files = zip(content.used, content.sums, strict=True)
        turned = TURNED in content.report.converted
        return _digest(content.report.classes, files, *([TURNED] if turned else []))

    def train_files(self, data_dir: Path | None) -> tuple[str, ...]:
        """Return the file of each training image, (N,), relative to the folder."""
        content = self._usable(data_dir)
        return tuple(one.file for one in content.used[: content.report.train])

    def report(self, data_dir: Path | None) -> Report:
        """Return what became of the files."""
        return self._usable(data_dir).report

    def _usable(self, data_dir: Path | None) -> _Content:
        if data_dir is None:
            raise DataError(f"data.name=folder: no folder there; give --data-dir DIR; {EXPECTED}")
        content = self._read(data_dir, self.image_size)
        if content.report.bad and self.on_bad == "fail":
            raise DataError(_complaint(data_dir, content))
        _check_classes(data_dir, content)
        return content


def _read(folder: Path, size: int) -> _Content:
    listing = list_images(folder)
    with ThreadPoolExecutor() as pool:  # both hashing and decoding free the GIL
        summed = list(pool.map(functools.partial(_with_sum, folder), listing.files))
    candidates = [(one, found) for one, found in summed if one.problem is None]
    pixels, verdicts = _decoded(folder, size, listing.classes, candidates)
    refused: dict[str, str] = verdicts["bad"]
    used = [(one, found) for one, found in candidates if one.file not in refused]
    samples = (
        Sample(one.file, one.split == "test", one.label, content, found)
        for (one, found), content in zip(used, verdicts["contents"], strict=True)
    )
    problems = {one.file: one.problem for one, _ in summed if one.problem is not None}
    report = Report(
        train=sum(one.split == "train" for one, _ in used),
        test=sum(one.split == "test" for one, _ in used),
        classes=listing.classes,
        converted=verdicts["converted"],
        bad=tuple(sorted({**problems, **refused}.items(), key=lambda item: os.fsencode(item[0]))),
        left_out=listing.left_out,
        counted=listing.counted,
        copies=duplicates.copies_of(list(samples)),
    )
    return _Content(tuple(o for o, _ in used), tuple(s for _, s in used), pixels, report)


def _with_sum(folder: Path, one: Listed) -> tuple[Listed, str]:
    """Return a file with its SHA-256, or with its problem if it cannot be read."""
    if one.problem is not None:
        return one, ""
    try:
        with (folder / one.file).open("rb") as file:
            return one, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return replace(one, problem=f"cannot be read ({error.strerror})"), ""


def _digest(classes: tuple[str, ...], files: Iterator[tuple[Listed, str]], *more: str) -> str:
    parts: list[Any] = [list(classes)]
    parts += [[one.file, one.split, one.label, found] for one, found in files]
    parts += more
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _decoded(
    folder: Path, size: int, classes: tuple[str, ...], files: list[tuple[Listed, str]]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the pixels of the good images and what is wrong with the others, once per machine."""
    decoded = functools.cache(lambda: _decode_all(folder, size, files))
    # Pillow's version, since another one may decode a JPEG another way, or more than this one
    made_of = f"{_digest(classes, iter(files))}-folder{VERSION}-pillow{PIL.__version__}-rgb-{size}"
    pixels = cache.kept(made_of, lambda: decoded()[0])
    verdicts = cache.kept(f"{made_of}-verdicts", lambda: decoded()[1])
    found: dict[str, Any] = json.loads(verdicts.tobytes())
    return pixels, found


def _decode_all(
    folder: Path, size: int, files: list[tuple[Listed, str]]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels of the good images, (N, 3, H, W), and the verdicts as bytes of JSON."""
    x = np.empty((len(files), 3, size, size), np.uint8)
    converted: Counter[str] = Counter()
    bad: dict[str, str] = {}
    contents: list[str] = []
    good = 0
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on what it reads all the same
        results = pool.map(functools.partial(_decode_one, folder, size), files)
        for (one, _), result in zip(files, results, strict=True):
            if isinstance(result, str):
                bad[one.file] = result
                continue
            x[good], good = result.pixels, good + 1
            contents.append(duplicates.content(result.pixels))
            converted.update(result.changes)
    verdicts = {"bad": bad, "converted": dict(sorted(converted.items())), "contents": contents}
    return x[:good], np.frombuffer(json.dumps(verdicts).encode(), np.uint8).copy()


def _decode_one(folder: Path, size: int, file: tuple[Listed, str]) -> Any:
    """Return a decoded image, or the reason why it is bad."""
    one, found = file
    path = folder / one.file
    content = path.read_bytes() if is_plain_file(path) else b""
    if hashlib.sha256(content).hexdigest() != found:
        raise DataError(f"{printable(path)}: it changed while it was read; run the command again")
    try:
        return decode(content, one.suffix, size)
    except BadImageError as error:
        return printable(error)


def _check_classes(folder: Path, content: _Content) -> None:
    """Refuse a folder without two classes, or with a class that has no image to use."""
    classes = content.report.classes
    if len(classes) < 2:
        raise DataError(
            f"--data-dir {printable(folder)}: {len(classes)} classes in train; at least 2 are "
            f"needed: {EXPECTED}"
        )
    for split in ("train", "test"):
        seen = {one.label for one in content.used if one.split == split}
        empty = [printable(name) for name in classes if name not in seen]
        if empty:
            raise DataError(
                f"--data-dir {printable(folder)}: {split} has no usable image of "
                f"{len(empty)} of {len(classes)} classes ({', '.join(empty[:NAMED])}); add some, "
                f"or take the class out of train and test"
            )


def _complaint(folder: Path, content: _Content) -> str:
    bad = content.report.bad
    total = len(bad) + len(content.used)
    lines = [f"  {printable(file)}: {reason}" for file, reason in bad[:NAMED]]
    if len(bad) > NAMED:
        lines.append(
            f"  and {len(bad) - NAMED} more; `curvetune plan --on-bad skip --json` lists all"
        )
    return "\n".join(
        [
            f"--data-dir {printable(folder)}: {len(bad)} of {total} images cannot be used",
            *lines,
            *content.report.left_out.words(),
            "mend or remove them, or go on without them: --on-bad skip",
        ]
    )
