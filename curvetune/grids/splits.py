"""The split of a cell, as the storage has it."""

from pathlib import Path

from curvetune.config import CellConfig
from curvetune.data.splits import Split
from curvetune.data.tables.table import ANOTHER
from curvetune.errors import CorruptError
from curvetune.store.splits import read_split, split_file

MAX_CLASSES = 100_000  # a label above it is damage


def stored_split(storage: Path | str, config: CellConfig, digest: str) -> Split:
    """Return the split of a cell on the data with this content `digest`.

    Raises:
        CorruptError: it is missing or damaged, or its labels are no classes.
    """
    split_id = config.split_id(digest)
    split = Split.from_arrays(read_split(Path(storage), split_id))
    y, y_true = split.y, split.y_true
    if y.size == 0 or y.min() < 0 or y_true.min() < ANOTHER or split.believed.max() >= MAX_CLASSES:
        raise CorruptError(f"split {split_id}: the labels of its split are no classes")
    return split


def has_split(storage: Path | str, config: CellConfig, digest: str) -> bool:
    """Say whether the storage has a file for the split of a cell."""
    return split_file(Path(storage), config.split_id(digest)).exists()
