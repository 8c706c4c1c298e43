"""How well a method's final weights tell wrong labels from right ones, and how large classes are.

Read from a cell's samples.safetensors and its split. What is damaged, or is not here, costs that
cell its own numbers and leaves a note.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from curvetune.analysis.scores import auroc
from curvetune.config import read_config
from curvetune.data.splits import Split
from curvetune.errors import CorruptError, CurvetuneError, printable
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.splits import stored_split
from curvetune.store import CellStore
from curvetune.store.names import SAMPLES


@dataclass(frozen=True)
class SampleFacts:
    """What is known of a finished cell's training samples; None where it is not."""

    counts: tuple[int, ...] | None = None  # of each class, true labels where they are known
    auroc: float | None = None  # chance that a right label weighs more than a wrong one
    note: str | None = None  # what is wrong with the files


class SamplesReader:
    """Reads the samples of cells; a split that several cells share is read once."""

    def __init__(self, storage: Path | str) -> None:
        """Read cells of `storage`."""
        self._store = CellStore(storage)
        self._splits: dict[str, Split | CurvetuneError] = {}

    def read(self, cell: Cell, digest: str) -> SampleFacts:
        """Return what the files of a cell that is done say; nothing of another one."""
        if cell.result is None:
            return SampleFacts()
        try:
            split = self._split(cell, digest)
        except (CurvetuneError, ValidationError) as error:
            return SampleFacts(note=_note(cell, error))
        per_class = cell.result.get("per_class_accuracy")
        size = len(per_class) if isinstance(per_class, list) else 0
        counts = tuple(np.bincount(split.believed, minlength=size).tolist())
        try:
            return SampleFacts(counts, weight_auroc(self._weights(cell), split))
        except CurvetuneError as error:
            return SampleFacts(counts, note=_note(cell, error))

    def _split(self, cell: Cell, digest: str) -> Split:
        config = read_config(cell.config)
        split_id = config.split_id(digest)
        if split_id not in self._splits:
            try:
                self._splits[split_id] = stored_split(self._store.root, config, digest)
            except CurvetuneError as error:
                self._splits[split_id] = error
        found = self._splits[split_id]
        if isinstance(found, CurvetuneError):
            raise found
        return found

    def _weights(self, cell: Cell) -> NDArray[np.float64] | None:
        """Return the last weight of each sample, (N,); None if the method has none."""
        if cell.result is None or SAMPLES not in cell.result.get("files", {}):
            return None
        weight = self._store.samples(cell.cell_id).get("weight")
        return None if weight is None else np.asarray(weight, np.float64)


def weight_auroc(weight: NDArray[np.float64] | None, split: Split) -> float | None:
    """Return the chance that a right label weighs more than a wrong one: 0.5 tells nothing apart.

    Returns None for a method without weights and where no label is known to be wrong.
    """
    if weight is None:
        return None
    if weight.shape != split.y.shape:
        raise CorruptError(f"{SAMPLES}: weights of shape {weight.shape}, {split.y.shape} expected")
    known = split.known
    return auroc(-weight[known], split.wrong[known])


def read_samples(storage: Path | str, grid: Grid) -> list[SampleFacts]:
    """Return what the samples of each cell of `grid` say, in its order."""
    reader = SamplesReader(storage)
    return [reader.read(cell, grid.digest) for cell in grid.cells]


def notes_of(found: Sequence[SampleFacts], shown: int = 5) -> list[str]:
    """Return what could not be read, a few in full."""
    notes = [samples.note for samples in found if samples.note]
    more = [f"and {len(notes) - shown} more cells like these"] if len(notes) > shown else []
    return notes[:shown] + more


def _note(cell: Cell, error: Exception) -> str:
    return f"cell {cell.cell_id}: no numbers of its samples ({printable(error, 300)})"
