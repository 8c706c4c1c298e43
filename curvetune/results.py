"""A storage in a notebook: its grids, cells and curves as polars frames, and its tables.

    from curvetune import Results

    results = Results("curvetune-results")
    results.cells("digits")           # a row per cell
    results.table("digits", "ma")     # Markdown, as `curvetune report digits --table ma` prints it
    results.figure("digits", "heat")  # a figure of matplotlib
    results.curves("digits/curvenet")       # of one cell, if the grid has just one of that method

Nothing is written, and neither PyTorch nor Ray is imported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars

from curvetune.analysis.aggregate import cells_frame
from curvetune.config import CellConfig
from curvetune.errors import ConfigError, nearest
from curvetune.grids.catalog import Catalog
from curvetune.grids.cells import read_grid
from curvetune.grids.naming import find_cell, find_cells, result_of
from curvetune.grids.splits import stored_split
from curvetune.report.document import as_markdown
from curvetune.report.sheet import markdown
from curvetune.report.tables import detail
from curvetune.report.tables.main import settings_sheet
from curvetune.settings import Settings
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import reading
from curvetune.store.names import HISTORY, SAMPLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from curvetune.classify import Classifier

SETTINGS = "settings"
TABLES = (*detail.TABLES, SETTINGS)


class MarkdownTable(str):
    """A table as Markdown, which a notebook shows as a table."""

    def _repr_markdown_(self) -> str:
        return str(self)


class Results:
    """What one storage holds.

    Every call takes first what it is about: a grid by its name, a cell by the first digits of its
    id, or GRID/METHOD. Where one cell is wanted and several are meant, the error lists them.
    A grid is all cells of its commands; GRID@last is those of the newest command alone.
    """

    def __init__(self, storage: Path | str | None = None) -> None:
        """Read `storage`; else CURVETUNE_STORAGE, else ./curvetune-results."""
        self.storage = reading(storage if storage is not None else Settings().storage)
        if not self.storage.is_dir():
            raise ConfigError(
                f"Results({str(self.storage)!r}): there is no such folder; give the one that a "
                f"grid was run with"
            )

    def __repr__(self) -> str:
        return f"Results({str(self.storage)!r}): {', '.join(self.grids()) or 'no grid'}"

    def grids(self) -> list[str]:
        """Return the names of all grids."""
        return CellStore(self.storage).grids()

    def cells(self, grid: str) -> polars.DataFrame:
        """Return a row per cell of a grid, or of GRID/METHOD: all numbers, and every option.

        `label` tells the methods of the grid apart, `method` is the method's name.

        Raises:
            ConfigError: the storage has no such grid.
        """
        name, _, method = grid.partition("/")
        frame = cells_frame(self.storage, name).rename({"method": "label", "name": "method"})
        if not method:
            return frame
        ids = [one.cell_id for one in find_cells(self.storage, grid)]
        return frame.filter(polars.col("cell_id").is_in(ids))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def history(self, name: str) -> polars.DataFrame:
        """Return a row per finished epoch of a grid's cells, of GRID/METHOD, or of one cell.

        `stage` is probe or allocate. A probe that several cells share comes with each of them.

        Raises:
            ConfigError: there is no such grid or cell.
        """
        found = find_cells(self.storage, name)
        rows = [row for one in found for row in self._history(one.cell_id, one.probe_id)]
        columns = dict.fromkeys(key for row in rows for key in row)
        return polars.DataFrame({key: [row.get(key) for row in rows] for key in columns})

    def curves(self, cell: str) -> polars.DataFrame:
        """Return the loss of each sample at each epoch of a cell's probe, long: N times T rows.

        Raises:
            ConfigError: there is no such cell, or its method has no probe.
            CorruptError: the curves are missing or damaged.
        """
        cell_id, config, digest = self._find(cell)
        probe_id = config.probe_id(digest)
        if probe_id is None:
            raise ConfigError(
                f"cell {cell_id}: {config.method.name} has no probe, so there are no curves"
            )
        curves = CurveStore(self.storage).read(probe_id)
        samples, epochs = curves.shape
        frame = polars.DataFrame(
            {
                "sample": np.repeat(np.arange(samples, dtype=np.int32), epochs),
                "epoch": np.tile(np.arange(epochs, dtype=np.int32), samples),
                "loss": np.asarray(curves).ravel(),
            }
        )
        return frame.join(self._labels(config, digest), on="sample", how="left")

    def weights(self, cell: str) -> polars.DataFrame:
        """Return a row per training sample: its labels, and its last loss and weight.

        A method without weights has no such column.

        Raises:
            ConfigError: there is no such cell, or it is not done.
            CorruptError: the values are missing or damaged.
        """
        cell_id, config, digest = self._find(cell)
        store = CellStore(self.storage)
        result_of(store, cell_id, SAMPLES, "values per sample")
        arrays = store.samples(cell_id)
        return self._labels(config, digest).with_columns(
            polars.Series(name, values) for name, values in arrays.items()
        )

    def table(self, grid: str, which: str = "ma") -> MarkdownTable:
        """Return a table of a grid as Markdown: ma, cells, seeds, significance or settings.

        Raises:
            ConfigError: there is no such table, or no such grid.
        """
        if which not in TABLES:
            raise ConfigError(
                f"table {which!r}: allowed are {', '.join(TABLES)}{nearest(which.lower(), TABLES)}"
            )
        found = read_grid(self.storage, grid)
        if which == SETTINGS:
            return MarkdownTable(markdown(settings_sheet(found)))
        return MarkdownTable(as_markdown(detail.table(self.storage, found, which, "last")))

    def figure(self, grid: str, name: str, cell: str | None = None) -> "Figure":
        """Return a figure of a grid, or of one of its cells, as `curvetune figures` draws it.

        Args:
            cell: the first digits of its id, or GRID/METHOD.

        Raises:
            ConfigError: there is no such figure, grid or cell, or nothing to draw.
        """
        from curvetune.report.figures import draw_all

        found = read_grid(self.storage, grid)
        wanted = None if cell is None else find_cell(self.storage, cell)
        cells = [one for one in found.cells if one.cell_id == wanted]
        for drawn in draw_all(self.storage, found, cells=cells[:1], only=[name]):
            if drawn.figure is not None:
                return drawn.figure
            raise ConfigError(f"figure {name!r}: {drawn.problem}")
        raise ConfigError(f"figure {name!r} is of a cell that is done; give the id of one: cell=…")

    def suspects(
        self,
        cell: str,
        top: int | None = None,
        data_dir: Path | str | None = None,
        *,
        score: str = "combined",
        where: Sequence[str] = (),
    ) -> polars.DataFrame:
        """Return the training samples of a cell, the likeliest wrong label first.

        Of GRID/METHOD with several seeds, every value is the mean over the seeds. This imports
        PyTorch, for the cell's classifier is asked.

        Args:
            score: what to rank by, as `curvetune suspects --score`.
            where: which setting of GRID/METHOD, as `curvetune suspects --where`.

        Raises:
            ConfigError: there is no such cell, it is not done, or it has no such score.
        """
        from curvetune.analysis.averaged import suspects_of
        from curvetune.report.suspects import suspects_frame

        folder = None if data_dir is None else Path(data_dir)
        found = suspects_of(self.storage, cell, folder, score=score, where=tuple(where))
        return suspects_frame(found, top)

    def model(self, cell: str, data_dir: Path | str | None = None) -> "Classifier":
        """Return the classifier of a cell: an `nn.Module` on the CPU, with `predict(images)`.

        It takes raw images and has its preprocessing and `class_names`. This imports PyTorch.

        Args:
            data_dir: of the images, if a version that stored no class names ran the cell.

        Raises:
            ConfigError: there is no such cell, it is not done, or a plugin of it is not loaded.
            DataError: the class names are not known here.
        """
        from curvetune.classify import classifier_of

        return classifier_of(self.storage, cell, None if data_dir is None else Path(data_dir))

    def _find(self, cell: str) -> tuple[str, CellConfig, str]:
        """Return the id, the config and the data's digest of a cell."""
        cell_id = find_cell(self.storage, cell)
        return cell_id, *Catalog(self.storage).config(cell_id)

    def _history(self, cell_id: str, probe_id: str | None) -> list[dict[str, Any]]:
        """Return the rows of both stages; none of a damaged history."""
        folders = {"allocate": CellStore(self.storage).folder(cell_id)}
        if probe_id is not None:
            folders = {"probe": CurveStore(self.storage).folder(probe_id), **folders}
        found = []
        for stage, folder in folders.items():
            found += [{"cell_id": cell_id, "stage": stage, **row} for row in _rows(folder)]
        return found

    def _labels(self, config: CellConfig, digest: str) -> polars.DataFrame:
        """Return of each training sample where it is in the data, and its labels."""
        split = stored_split(self.storage, config, digest)
        columns = {
            "sample": np.arange(len(split.y), dtype=np.int32),
            "index": split.train,
            "given_label": split.y,
            "true_label": split.y_true,
            "is_wrong": split.wrong,
        }
        frame = polars.DataFrame(columns)
        is_told = config.bias.truth_is_known or bool(split.wrong.any())
        known = {"true_label": split.y_true >= 0, "is_wrong": split.known}
        shown = [
            polars.when(polars.Series(where & is_told)).then(polars.col(name)).alias(name)
            for name, where in known.items()
        ]
        return frame.with_columns(shown)


def _rows(folder: Path) -> list[dict[str, Any]]:
    from curvetune.store.history import read_rows

    try:
        return read_rows(folder / HISTORY)
    except ValueError:
        return []
