"""What the figures of a cell are made of, read from its files when a figure asks for it."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from curvetune.analysis.predictions import confusion_matrix, images_of
from curvetune.config import CellConfig, read_config
from curvetune.config.fingerprint import fingerprint
from curvetune.data import cache
from curvetune.data.recipe import fed
from curvetune.data.source import Dataset
from curvetune.data.splits import Split
from curvetune.errors import ConfigError, CorruptError, CurvetuneError, DataError, printable
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import REAL, setting_parts
from curvetune.grids.splits import stored_split
from curvetune.report.figures.training import Rows
from curvetune.store import CellStore, CurveStore
from curvetune.store.history import read_rows
from curvetune.store.names import HISTORY, MODEL, SAMPLES


class MissingError(ConfigError):
    """A figure cannot be drawn since what it shows does not exist for this cell."""


class GridImages:
    """The images of a grid, loaded once, where they are here."""

    def __init__(self, grid: Grid, data_dir: Path | None) -> None:
        self._grid = grid
        self._data_dir = data_dir
        self.notes: list[str] = []
        self.confusions: dict[str, NDArray[np.int64]] = {}  # of cells, since cross entropy's is
        # asked for beside that of every other method

    @cached_property
    def dataset(self) -> Dataset | None:
        """None where they are not here; `notes` says why."""
        config = read_config(self._grid.cells[0].config)
        try:
            return images_of(config, self._grid.digest, self._data_dir, self.notes)[0]
        except DataError as error:
            self.notes.append(str(error))
            return None

    @property
    def class_names(self) -> Sequence[str]:
        """Of its classes; empty where the images, or what they are of, are not here."""
        try:
            return () if self.dataset is None else self.dataset.class_names
        except (CurvetuneError, ValidationError):  # what needs the images says so by itself
            return ()


class CellFiles:
    """The files of one finished cell."""

    def __init__(self, storage: Path, grid: Grid, cell: Cell, images: GridImages) -> None:
        self.cell = cell
        self.storage = storage
        self._grid = grid
        self._digest = grid.digest
        self._images = images
        where = setting_parts(cell.setting, grid.settings)
        self.place = ", ".join([*where, f"seed {cell.seed}"])
        self.title = f"{cell.label}, {self.place}"

    @cached_property
    def config(self) -> CellConfig:
        """The cell's config."""
        return read_config(self.cell.config)

    @property
    def truth_is_known(self) -> bool:
        """Whether it is known which of its given labels are wrong."""
        return self.cell.setting.noise != REAL

    @property
    def labels_are_judged(self) -> bool:
        """Whether it is known of some of its given labels that they are wrong, or of all of them.

        Raises:
            CorruptError: its split is damaged, or not here.
        """
        return self.truth_is_known or bool(self.split.wrong.any())

    @cached_property
    def split(self) -> Split:
        """Its split.

        Raises:
            CorruptError: it is damaged, or not here.
        """
        return stored_split(self.storage, self.config, self._digest)

    @property
    def stamp(self) -> str:
        """What the profile of its grid is to be called."""
        return self._grid.stamp

    def curves(self) -> NDArray[np.float64]:
        """Return the curves of its probe, (N, T).

        Raises:
            MissingError: its method has no probe.
            CorruptError: they are damaged.
        """
        if self.cell.probe_id is None:
            raise MissingError(f"{self.cell.label} has no probe, so no loss curves")
        curves = np.asarray(CurveStore(self.storage).read(self.cell.probe_id), np.float64)
        if curves.ndim != 2 or len(curves) != len(self.split.y):
            raise CorruptError(f"curves of shape {curves.shape} for {len(self.split.y)} samples")
        return curves

    def weights(self) -> NDArray[np.float64]:
        """Return the last weight of each sample, (N,).

        Raises:
            MissingError: its method has none.
            CorruptError: they are damaged.
        """
        if SAMPLES not in (self.cell.result or {}).get("files", {}):
            raise MissingError("its values per sample stayed where it was run")
        arrays = CellStore(self.storage).samples(self.cell.cell_id)
        if "weight" not in arrays:
            raise MissingError(f"{self.cell.label} gives samples no weights")
        weights = np.asarray(arrays["weight"], np.float64)
        if weights.shape != self.split.y.shape:
            raise CorruptError(f"{len(weights)} weights for {len(self.split.y)} samples")
        return weights

    def rows(self) -> tuple[Rows, Rows]:
        """Return the histories of the probe and of the final training.

        Raises:
            CorruptError: one is damaged.
        """
        probe: Rows = ()
        try:
            if self.cell.probe_id is not None:
                probe = read_rows(CurveStore(self.storage).folder(self.cell.probe_id) / HISTORY)
            return probe, read_rows(self._folder / HISTORY)
        except (ValueError, OSError) as error:
            raise CorruptError(f"{HISTORY}: {printable(error)}") from None

    def confusion(self) -> NDArray[np.int64]:
        """Return the confusion matrix of its classifier on the test images, (K, K).

        Raises:
            MissingError: the images or the classifier are not here.
            CorruptError: the classifier is damaged.
        """
        path = self._folder / MODEL
        if self._images.dataset is None:
            raise MissingError("; ".join(self._images.notes))
        if not path.exists():
            raise MissingError("its classifier stayed where it was run")
        known, cell_id = self._images.confusions, self.cell.cell_id
        if cell_id not in known:
            known[cell_id] = self._confusion(self._images.dataset, path)
        return known[cell_id]

    def _confusion(self, images: Dataset, path: Path) -> NDArray[np.int64]:
        """Return the confusion matrix, kept on this machine: to ask takes 0.2 s to minutes."""
        model = hashlib.sha256(path.read_bytes()).hexdigest()
        name = f"confusion-{fingerprint({'cell': self.cell.cell_id, 'model': model})}"
        kept = cache.find(name)
        if kept is not None:
            return np.frombuffer(kept.tobytes(), np.int64).reshape(images.num_classes, -1)
        dataset = fed(images, self.config.data, self._digest)
        found = confusion_matrix(self.config, dataset, self.split, path)
        cache.keep(name, np.frombuffer(found.tobytes(), np.uint8))
        return found

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called; nothing where the images are not here."""
        dataset = self._images.dataset
        return () if dataset is None else tuple(map(printable, dataset.class_names))

    def beside(self, cell: Cell) -> "CellFiles":
        """Return the files of another cell of the same grid."""
        return CellFiles(self.storage, self._grid, cell, self._images)

    @property
    def _folder(self) -> Path:
        return CellStore(self.storage).folder(self.cell.cell_id)
