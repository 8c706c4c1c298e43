"""The file of a split: which images play which part, and the labels that they are given.

The arrays are those of `curvetune.data.splits.Split`, which the storage knows nothing of.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from curvetune.errors import CorruptError
from curvetune.store.arrays import load_arrays, save_arrays
from curvetune.store.files import folder_of
from curvetune.store.names import SPLITS

Arrays = dict[str, NDArray[Any]]


def split_file(root: Path, split_id: str) -> Path:
    """Return the file of a split, whether or not it exists.

    Raises:
        StorageError: it is a link out of the root.
    """
    return folder_of(root, SPLITS, split_id).with_suffix(".safetensors")


def read_split(root: Path, split_id: str, identity: Mapping[str, Any] | None = None) -> Arrays:
    """Return the arrays of a split.

    Args:
        identity: what the split must be of, if that is to be checked.

    Raises:
        CorruptError: it is missing or damaged, or the split of something else.
    """
    path = split_file(root, split_id)
    arrays, tree = load_arrays(path)
    if identity is not None and tree.get("identity") != identity:
        raise CorruptError(f"{path}: it is the split of something else")
    return arrays


def write_split(
    root: Path, split_id: str, arrays: Mapping[str, NDArray[Any]], identity: Mapping[str, Any]
) -> None:
    """Keep the arrays of a split, and what it is of.

    Raises:
        StorageError: it cannot be written.
    """
    save_arrays(split_file(root, split_id), dict(arrays), {"identity": dict(identity)})
