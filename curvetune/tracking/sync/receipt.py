"""What MLflow's database was last brought up to date with.

MLflow's import and its answer about a grid of 1,000 cells take six seconds, which a grid that has
nothing left to run need not spend. As long as neither the database nor the grid's results have
changed, there is nothing to send. What a server has, only the server knows: it is asked each time.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from curvetune import __version__
from curvetune.errors import CorruptError, StorageError
from curvetune.store import CellStore
from curvetune.store.files import read_json, write_json
from curvetune.store.names import DONE, step_times_file, sync_folder
from curvetune.store.plain import read_plain
from curvetune.tracking.base import database_file

SCHEMA_VERSION = 1


class Receipt:
    """What tells that a grid's last sync is still up to date."""

    def __init__(self, storage: Path | str, grid: str, uri: str, *, log_models: bool) -> None:
        """Keep the receipt of `grid` of `storage` for the database `uri`; a server has none.

        Args:
            log_models: whether the classifiers are there too.
        """
        self._cells, self._grid, self._log_models = CellStore(storage), grid, log_models
        self._database = database_file(uri)
        self._path = sync_folder(storage, grid) / "receipt.json"

    def results(self) -> str | None:
        """Return a digest of what a tracker shows of the grid; None where a cell is not done."""
        root = self._cells.root
        shown = hashlib.sha256(f"{__version__} {self._log_models}".encode())
        try:
            files = [self._cells.grid_file(self._grid)]
            cells = self._cells.read_grid(self._grid)["cells"]
            files += [self._cells.folder(cell["cell_id"]) / DONE for cell in cells]
            if (times := step_times_file(root, self._grid)).exists():
                files.append(times)
            for path in files:
                shown.update(hashlib.sha256(read_plain(path)).digest())
        except (OSError, CorruptError, StorageError):
            return None
        return shown.hexdigest()

    def keep(self, results: str | None) -> None:
        """Note that the tracker has `results`, what `results()` was before it was told.

        Without the note, as where the storage cannot be written, the tracker is asked once more.
        """
        written = self._written()
        if results is None or written is None:
            return
        content = {"schema_version": SCHEMA_VERSION, "results": results, "database": written}
        with contextlib.suppress(StorageError, OSError):
            write_json(self._path, content)

    def is_valid(self) -> bool:
        """Say whether the tracker has all that it would get."""
        try:
            found = read_json(self._path)
        except CorruptError:
            return False
        written, results = self._written(), self.results()
        return None not in (written, results) and found == {
            "schema_version": SCHEMA_VERSION,
            "results": results,
            "database": written,
        }

    def _written(self) -> list[Any] | None:
        """Return what changes with each write to the database; None if there is none."""
        if self._database is None:
            return None
        try:
            found = self._database.stat()
        except OSError:
            return None
        return [found.st_ino, found.st_size, found.st_mtime_ns]
