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

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data.decode import TURNED
from curvetune.data.listing import EXPECTED, Listing, list_images
from curvetune.data.stream.indexing import Indexed, digest_of, hexadecimal, index
from curvetune.data.stream.own import OwnImages
from curvetune.data.stream.report import NAMED, OnBad, Report, complaint
from curvetune.data.tables.encoded import Files
from curvetune.data.tables.table import Table
from curvetune.data.tables.texts import Texts
from curvetune.errors import DataError, printable

REMEDY = "put it back as it was, or run the command again"  # of a file that is gone later


class Folder(OwnImages):
    """The images of a folder."""

    def __init__(self, image_size: int = 32, on_bad: OnBad = "fail") -> None:
        """Resize images to `image_size`; leave bad ones out if `on_bad` is skip."""
        super().__init__("folder", image_size, on_bad)

    def _look(self, data_dir: Path | None) -> Indexed:
        if data_dir is None:
            raise DataError(f"data.name=folder: no folder there; give --data-dir DIR; {EXPECTED}")
        listing = list_images(data_dir)
        found = index(_table(data_dir, listing), self.image_size, "skip", _digest)
        report = _told(listing, found.report)
        if report.bad and self.on_bad == "fail":
            total = len(report.bad) + len(found.pixels)
            words = complaint(report.bad, total, *report.left_out.words())
            raise DataError(f"--data-dir {printable(data_dir)}: {words}")
        _check_classes(data_dir, found.table)
        return replace(found, report=report)


def _table(folder: Path, listing: Listing) -> Table:
    """Return the files that may be images: those to train on, then those to test on."""
    files = [one for one in listing.files if one.problem is None]
    number = {name: k for k, name in enumerate(listing.classes)}
    return Table(
        # absolute, since a trial may have another working directory
        encoded=Files(folder.absolute(), Texts(one.file for one in files), REMEDY),
        train=sum(one.split == "train" for one in files),
        y=np.array([number[one.label] for one in files], np.int64),
        class_names=listing.classes,
    )


def _told(listing: Listing, report: Report) -> Report:
    """Return what became of all files of a folder, given what became of those in its table."""
    bad = {name: reason.removesuffix(f"; {REMEDY}") for name, reason in report.bad}
    bad |= {one.file: one.problem for one in listing.files if one.problem is not None}
    return replace(
        report,
        bad=tuple(sorted(bad.items(), key=lambda item: os.fsencode(item[0]))),
        left_out=listing.left_out,
        counted=listing.counted,
        facts=listing.facts,
    )


def _digest(used: Table, sums: NDArray[np.uint8], converted: Mapping[str, int]) -> str:
    """Return a digest of the used files' names, labels and bytes, wherever the folder is.

    Where a photograph is turned, that it is enters too: before version 2 of decoding none was.
    """
    files = (
        [used.encoded.name(k), "train" if k < used.train else "test", used.class_names[y], found]
        for k, (y, found) in enumerate(zip(used.y.tolist(), hexadecimal(sums), strict=True))
    )
    turned = [TURNED] if TURNED in converted else []
    return digest_of(chain([list(used.class_names)], files, turned))


def _check_classes(folder: Path, used: Table) -> None:
    """Refuse a folder without two classes, or with a class that has no image to use."""
    names, n = used.class_names, used.train
    if len(names) < 2:
        raise DataError(
            f"--data-dir {printable(folder)}: {len(names)} classes in train; at least 2 are "
            f"needed: {EXPECTED}"
        )
    for split, y in (("train", used.y[:n]), ("test", used.y[n:])):
        sizes = np.bincount(y, minlength=len(names))
        empty = [printable(names[k]) for k in np.flatnonzero(sizes == 0)]
        if empty:
            raise DataError(
                f"--data-dir {printable(folder)}: {split} has no usable image of "
                f"{len(empty)} of {len(names)} classes ({', '.join(empty[:NAMED])}); add some, "
                f"or take the class out of train and test"
            )
