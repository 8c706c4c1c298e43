"""The split of a cell: from the storage, or made of the data, with corrected labels if it has any.

Nothing here imports PyTorch.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.config import CellConfig, MetaSetConfig
from curvetune.data.people.labels import labels_digest
from curvetune.data.source import Dataset, Images
from curvetune.data.splits import Split, make_split, with_validation
from curvetune.data.tables.table import UNKNOWN
from curvetune.errors import CorruptError, DataError
from curvetune.store.plain import is_there
from curvetune.store.relabels import read_relabel
from curvetune.store.splits import read_split, split_file, write_split

logger = logging.getLogger(__name__)


def load_split(cell: CellConfig, digest: str, dataset: Dataset, storage: Path) -> Split:
    """Return the stored split of a cell, made and stored if it is missing or damaged.

    Raises:
        ConfigError: the cell has corrected labels that the storage has not.
        DataError: the data cannot give it.
    """
    split = _stored(cell, digest, storage)
    if split is None:
        split = made_split(cell, digest, dataset, storage)
        identity = cell.split_identity(digest)
        write_split(storage, cell.split_id(digest), split.arrays(), identity)
    return split


def clean_images(cell: CellConfig, split: Split, dataset: Dataset) -> NDArray[np.int64]:
    """Return the clean images that the method may use, (M,): the first ones of each class."""
    meta, method = split.meta, cell.method
    if not isinstance(method, MetaSetConfig) or method.meta_images is None:
        return meta
    y = dataset.train.y[meta]
    first = [meta[y == k][: method.meta_images] for k in range(dataset.num_classes)]
    return np.concatenate(first)


def prepare_splits(
    cells: Iterable[CellConfig], digest: str, dataset: Dataset, storage: Path
) -> None:
    """Write the split of every cell, so that all machines train on the same labels.

    Raises:
        DataError: the data cannot give one of them.
        StorageError: the storage cannot be written.
    """
    for cell in {cell.split_id(digest): cell for cell in cells}.values():
        load_split(cell, digest, dataset, storage)


def find_split(cell: CellConfig, digest: str, dataset: Dataset, storage: Path) -> Split:
    """Return the split of a cell as `load_split` does, and write nothing."""
    return _stored(cell, digest, storage) or made_split(cell, digest, dataset, storage)


def made_split(cell: CellConfig, digest: str, dataset: Dataset, storage: Path) -> Split:
    """Return the split of a cell, made of the data and the storage's corrected labels."""
    validates = cell.data.validation is not None
    split = make_split(
        dataset.train.y,
        dataset.train.y[:0] if validates else dataset.test.y,
        cell.data,
        cell.bias,
        cell.seed,
        dataset.num_classes,
        clean=dataset.clean,
        known=dataset.y_true,
        people=_of_people(cell, dataset),
    )
    if cell.data.relabel is not None:
        labels = read_relabel(storage, cell.data.relabel, digest)
        _check(labels, cell.data.relabel, dataset)
        split = split.relabelled(labels, truth_is_added=truth_stays(cell, dataset))
    return with_validation(split, cell.data, dataset.train.y, cell.seed) if validates else split


def evaluated(
    split: Split, dataset: Dataset
) -> tuple[Images, NDArray[np.int64], NDArray[np.int64]]:
    """Return of which images, which ones a cell is evaluated on, (V,), and their labels, (V,)."""
    if split.validation is None or split.validation_y is None:
        return dataset.test, split.test, dataset.test.y[split.test]
    return dataset.train, split.validation, split.validation_y


def truth_stays(cell: CellConfig, dataset: Dataset) -> bool:
    """Say whether hidden labels are true whatever is corrected: noise is added, or data tells."""
    return cell.bias.adds_noise or dataset.y_true is not None


def verified_flags(split: Split, dataset: Dataset) -> NDArray[np.int8] | None:
    """Return what the data says of the given labels, (N,): 1 right, 0 wrong, UNKNOWN.

    Of a label that was changed here it says nothing. None where it says nothing of any.
    """
    if dataset.verified is None:
        return None
    same = split.y == dataset.train.y[split.train]
    flags = np.where(same, dataset.verified[split.train], UNKNOWN).astype(np.int8)
    return None if (flags == UNKNOWN).all() else flags


def _of_people(cell: CellConfig, dataset: Dataset) -> NDArray[np.int64] | None:
    """Return the labels that people gave, (N,); None if the cell is about others.

    Raises:
        DataError: they are not here, or not those that the cell is about.
    """
    if not cell.bias.is_human:
        return None
    kind, wanted = cell.bias.noise, cell.bias.labels_digest
    labels = dataset.human.get(kind)
    found = "none" if labels is None else labels_digest(labels)
    if labels is None or found != wanted:
        raise DataError(
            f"bias.noise={kind}: the cell is about people's labels with the digest {wanted}, and "
            f"those beside the images have {found}; put the file that it was planned with there "
            f"again, or plan the grid anew"
        )
    return labels


def _stored(cell: CellConfig, digest: str, storage: Path) -> Split | None:
    split_id, identity = cell.split_id(digest), cell.split_identity(digest)
    if not is_there(split_file(storage, split_id)):
        return None
    try:
        return Split.from_arrays(read_split(storage, split_id, identity))
    except CorruptError as error:
        logger.warning("%s; the split is made again", error)
        return None


def _check(labels: Mapping[int, int], relabel: str, dataset: Dataset) -> None:
    """Refuse labels that are none of this data: a storage may be anybody's."""
    samples, classes = len(dataset.train), dataset.num_classes
    if any(not (0 <= k < samples and 0 <= c < classes) for k, c in labels.items()):
        raise CorruptError(
            f"relabels/{relabel}.csv: it corrects other samples, or to other classes, than the "
            f"{samples} samples and {classes} classes of the data"
        )
