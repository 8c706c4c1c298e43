"""Labels that people gave to the images of CIFAR, beside the true ones: CIFAR-10N and CIFAR-100N.

    CIFAR-10_human.pt            or CIFAR-10_human_ordered.npy with image_order_c10.npy
    CIFAR-100_human.pt           or CIFAR-100_human_ordered.npy with image_order_c100.npy

They are looked for in $CURVETUNE_HUMAN_LABELS, in --data-dir and in the folders below it that
`FOLDERS` names, without --data-dir in the cache; nothing is downloaded. The first form has the
order of the original archive, the second that of TensorFlow Datasets:
ordered[i] = first[order[i]].

Source: Wei et al., "Learning with Noisy Labels Revisited", ICLR 2022 (github
UCSC-REAL/cifar-10-100n).
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvetune.config import HUMAN_KINDS
from curvetune.data import cache
from curvetune.data.people.plain_pickle import integers, read_npy, read_zip
from curvetune.errors import DataError, printable

Labels = NDArray[np.int64]
FOLDERS = ("", "cifar-10-100n/data", "cifar-10-100n", "data")
CLEAN = "clean_label"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The files of one data set, and where in them each kind is."""

    labels: str
    ordered: str
    order: str
    num_classes: int
    keys: Mapping[str, tuple[str, ...]]  # of each kind, by what its labels may be called


FILES = {
    "cifar10": Files(
        "CIFAR-10_human.pt",
        "CIFAR-10_human_ordered.npy",
        "image_order_c10.npy",
        10,
        {
            "human-aggre": ("aggre_label",),
            "human-worse": ("worse_label",),
            "human-random1": ("random_label1",),
            "human-random2": ("random_label2",),
            "human-random3": ("random_label3",),
        },
    ),
    "cifar100": Files(
        "CIFAR-100_human.pt",
        "CIFAR-100_human_ordered.npy",
        "image_order_c100.npy",
        100,
        {"human-fine": ("noisy_label", "noise_label")},
    ),
}
assert all(tuple(FILES[name].keys) == kinds for name, kinds in HUMAN_KINDS.items())


def human_labels(name: str, data_dir: Path | None, y: Labels | None) -> dict[str, Labels]:
    """Return the labels of each kind for the training images of a source, (N,) each.

    Args:
        name: of the source.
        y: its true labels, (N,); None before the download, when they cannot be compared.

    Raises:
        DataError: there is no file of them, it is none, or it is of other images.
    """
    files = FILES[name]
    path = _find(files, name, data_dir)
    found = _read(path, files)
    if y is not None:
        _check_clean(path, found[CLEAN], y, path.parent / files.order)
    return {kind: labels for kind, labels in found.items() if kind != CLEAN}


def labels_or_none(name: str, data_dir: Path | None, y: Labels) -> dict[str, Labels]:
    """Return what `human_labels` does; no kinds if there is no file, or a wrong one, which is said.

    Images can be used without these labels, and a cell that needs them is refused when it is
    planned.
    """
    files = FILES[name]
    if not any(path.exists() for path in _places(files, name, data_dir)):
        return {}
    try:
        return human_labels(name, data_dir, y)
    except DataError as error:
        logger.warning("people's labels are left out: %s", error)
        return {}


def labels_digest(labels: Labels) -> str:
    """Return 16 hexadecimal digits that tell labels apart, whichever file they are from."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()[:16]


def _find(files: Files, name: str, data_dir: Path | None) -> Path:
    looked = _places(files, name, data_dir)
    for path in looked:
        if path.is_file():
            return path
    folders = ", ".join(dict.fromkeys(printable(path.parent) for path in looked))
    raise DataError(
        f"{files.labels} is not there; it is published in folder data of github's "
        f"UCSC-REAL/cifar-10-100n, and never downloaded by itself. Looked for it, and for "
        f"{files.ordered} with {files.order}, in {folders}. Put it beside the images of {name}, "
        f"or give its folder as CURVETUNE_HUMAN_LABELS"
    )


def _places(files: Files, name: str, data_dir: Path | None) -> list[Path]:
    """Return where the labels may be, the first form before the second."""
    folders = list(dict.fromkeys(_folders(name, data_dir)))
    return [folder / file for file in (files.labels, files.ordered) for folder in folders]


def _folders(name: str, data_dir: Path | None) -> Iterator[Path]:
    if chosen := os.environ.get("CURVETUNE_HUMAN_LABELS"):
        yield from (Path(chosen).expanduser() / folder for folder in FOLDERS)
        return
    root = cache.folder() if data_dir is None else data_dir
    for folder in FOLDERS:
        yield root / folder
        yield root / name / folder


def _read(path: Path, files: Files) -> dict[str, Labels]:
    """Return the true labels and each kind, in the order of the original archive."""
    is_ordered = path.name == files.ordered
    content = read_npy(path) if is_ordered else read_zip(path)
    if not isinstance(content, dict):
        raise _wrong(path, f"holds no dictionary but {type(content).__name__}")
    keys = {CLEAN: (CLEAN,), **files.keys}
    found = {kind: _column(path, content, names, files) for kind, names in keys.items()}
    if len({len(labels) for labels in found.values()}) > 1:
        raise _wrong(path, "its columns are not of one length")
    if not is_ordered:
        return found
    order = _order(path.parent / files.order, len(found[CLEAN]))
    if order is None:
        raise DataError(
            f"{printable(path)} is in the order of TensorFlow Datasets, and {files.order}, which "
            f"says which image each row is of, is not beside it; put it there, or {files.labels}"
        )
    return {kind: _inverted(labels, order) for kind, labels in found.items()}


def _column(path: Path, content: dict[Any, Any], names: tuple[str, ...], files: Files) -> Labels:
    name = next((name for name in names if name in content), None)
    if name is None:
        there = printable(", ".join(map(str, content)))
        raise _wrong(path, f"has no column {' or '.join(names)}; it has {there or 'none'}")
    try:
        labels = integers(content[name])
    except (OverflowError, ValueError, TypeError) as error:
        raise _wrong(path, f"column {name}: {printable(error)}") from None
    bad = np.flatnonzero((labels < 0) | (labels >= files.num_classes))
    if len(bad):
        row = int(bad[0])
        raise _wrong(
            path,
            f"column {name}, row {row}: label {labels[row]}; allowed are 0 to "
            f"{files.num_classes - 1}",
        )
    return labels


def _order(path: Path, size: int) -> Labels | None:
    """Return which image each row is of, (N,); None if there is no such file.

    Raises:
        DataError: it is no order of so many rows.
    """
    if not path.is_file():
        return None
    try:
        order = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _wrong(path, f"cannot be read ({printable(error)})") from None
    if not (isinstance(order, np.ndarray) and np.array_equal(np.sort(order), np.arange(size))):
        raise _wrong(path, f"is no order of {size:,} rows, each of 0 to {size - 1} once")
    return order.astype(np.int64)


def _inverted(ordered: Labels, order: Labels) -> Labels:
    labels = np.empty_like(ordered)
    labels[order] = ordered
    return labels


def _check_clean(path: Path, clean: Labels, y: Labels, order_file: Path) -> None:
    """Refuse labels of other images, or of the same in another order.

    Raises:
        DataError: they are.
    """
    if len(clean) != len(y):
        raise _wrong(path, f"is of {len(clean):,} images, and the data has {len(y):,} to train on")
    differ = np.flatnonzero(clean != y)
    if not len(differ):
        return
    row = int(differ[0])
    raise DataError(
        f"{printable(path)}: its {CLEAN} differs from the data's label in {len(differ):,} of "
        f"{len(y):,} rows, first in row {row}: {clean[row]} there, {y[row]} in the data. "
        f"{_why_differ(clean, y, _order(order_file, len(y)))}Allowed are labels of the same "
        f"images in the same order: give CIFAR in the order of its original archive, and the "
        f"published file"
    )


def _why_differ(clean: Labels, y: Labels, order: Labels | None) -> str:
    """Return what is known of how the rows are ordered, as a sentence."""
    if order is not None and np.array_equal(clean[order], y):
        return "The data is in the order of TensorFlow Datasets, the file in the original's. "
    if order is not None and np.array_equal(clean, y[order]):
        return "The file is in the order of TensorFlow Datasets, the data in the original's. "
    if np.array_equal(np.sort(clean), np.sort(y)):
        return "Each class is as large in both, so one is likely in another order of rows. "
    return ""


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{printable(path)}: {what}; put the published file there")
