"""Results of cells, and which cells a grid is.

    cells/<cell_id>/config.json          the cell, as it was run
                    history.jsonl        one row per finished epoch, with its time
                    checkpoint.safetensors   until it is done
                    model.safetensors    the final classifier
                    samples.safetensors  per training sample: last loss, last weight
                    FAILED.json          why the last try failed, until one succeeds
                    PAUSED.json          it waits with a checkpoint, as asked, until it goes on
                    lease-<token>.json   who works on it (lease.py)
                    DONE.json            last: the result, and the SHA-256 of every file
    splits/<split_id>.safetensors        meta set, kept images and their labels
    grids/<name>.json                    the cells of all commands for that grid (commands.py)

A result exists when DONE.json does and every file that it lists has the checksum that it lists.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, CorruptError, PausedError, nearest
from curvetune.store.checksums import sha256
from curvetune.store.commands import has_more, keep_record, merged, records, whole_grid
from curvetune.store.files import (
    address_of,
    check_files,
    check_owner,
    folder_of,
    publish_json,
    published_etags,
    read_json,
    read_published,
    remove,
    write_json,
)
from curvetune.store.history import read_rows
from curvetune.store.lease import Lease
from curvetune.store.names import (
    CELLS,
    CHECKPOINT,
    CONFIG,
    DONE,
    FAILED,
    GRIDS,
    HISTORY,
    MODEL,
    PAUSED,
    SAMPLES,
)
from curvetune.store.plain import check_inside, is_there
from curvetune.store.records import checked_grid
from curvetune.system.collecting import not_collected
from curvetune.system.redact import redact

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA_VERSION = 2  # 1 had no seal
RESULT_FILES = (CONFIG, HISTORY, MODEL, SAMPLES)

logger = logging.getLogger(__name__)


class CellStore:
    """The cells and grids under one storage root."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, cell_id: str) -> Path:
        """Return the folder of a cell, whether or not it exists."""
        return folder_of(self.root, CELLS, cell_id)

    def publish(
        self,
        cell_id: str,
        result: Mapping[str, Any],
        files: Sequence[str] = RESULT_FILES,
        lease: Lease | None = None,
    ) -> dict[str, Any]:
        """Make the result of a cell visible, once; return what was written to DONE.json.

        Args:
            files: what the result consists of; fewer where it came from another machine.
            lease: of the cell's folder, which must be held still.

        Raises:
            CorruptError: one of the result's files is missing.
            LostLeaseError: another process took the cell over, or published it first.
            StorageError: it cannot be written.
        """
        folder = self.folder(cell_id)
        done = {
            "schema_version": SCHEMA_VERSION,
            "cell_id": cell_id,
            **result,
            "files": {name: sha256(folder / name) for name in files},
            **published_etags(folder, files),
        }
        if lease is not None:
            lease.check()
        done = publish_json(folder / DONE, done)
        remove(folder / FAILED, folder / PAUSED, folder / CHECKPOINT)
        return done

    def result(self, cell_id: str) -> dict[str, Any] | None:
        """Return what DONE.json holds, or None where there is no whole and unchanged result."""
        folder = self.folder(cell_id)
        if not is_there(folder / DONE):
            return None
        try:
            done = read_published(folder / DONE)
            check_owner(folder, done, "cell_id")
            check_files(folder, done)
        except CorruptError as error:
            logger.warning("cell %s is not used and will be recomputed: %s", cell_id, error)
            return None
        return done

    def discard(self, cell_id: str) -> None:
        """Remove a result that `result` refuses, so that another can be published."""
        remove(self.folder(cell_id) / DONE)

    def fail(self, cell_id: str, error: str, log: str, *, kind: str = "other") -> None:
        """Record why a cell failed: one line, the traceback, and a kind of training/failures.py.

        Secrets that are in them are not written.
        """
        content = {
            "schema_version": SCHEMA_VERSION,
            "kind": kind,
            "error": redact(error),
            "log": redact(log),
            "time": time.time(),
        }
        write_json(self.folder(cell_id) / FAILED, content)

    def failure(self, cell_id: str) -> dict[str, Any] | None:
        """Return why a cell failed, or None; without secrets that this process knows."""
        path = self.folder(cell_id) / FAILED
        if not path.exists():
            return None
        texts = ("error", "log")  # a worker on another machine may not know a secret of this one
        content = read_json(path)
        return content | {key: redact(str(content[key])) for key in texts if key in content}

    def failure_file(self, cell_id: str) -> Path:
        """Return where `fail` records why a cell failed."""
        return self.folder(cell_id) / FAILED

    @contextmanager
    def going_on(self, cell_id: str) -> Iterator[None]:
        """Record while the block runs that a cell is not paused, and afterwards if it is.

        Its last try has not failed then.
        """
        folder = self.folder(cell_id)
        remove(folder / PAUSED)
        try:
            yield
        except PausedError:
            write_json(folder / PAUSED, {"schema_version": SCHEMA_VERSION, "time": time.time()})
            remove(folder / FAILED)
            raise

    def samples(self, cell_id: str) -> "dict[str, NDArray[Any]]":
        """Return the last values of each training sample, (N,) each: its loss, perhaps its weight.

        Raises:
            CorruptError: they are missing or damaged.
        """
        from curvetune.store.arrays import load_arrays  # inside: it imports NumPy

        arrays, _ = load_arrays(self.folder(cell_id) / SAMPLES)
        return arrays

    def history(self, cell_id: str) -> list[dict[str, Any]]:
        """Return the rows of a cell's finished epochs, oldest first; none if it has not begun."""
        return read_rows(self.folder(cell_id) / HISTORY)

    def has_epochs(self, cell_id: str, count: int) -> bool:
        """Say whether a cell's history has so many epochs; a damaged one has none."""
        try:
            return len(self.history(cell_id)) >= count
        except ValueError:
            return False

    @not_collected()
    def write_grid(self, name: str, grid: Mapping[str, Any], *, has_run: bool = True) -> None:
        """Record which cells a command for a grid has, beside those of earlier ones.

        Args:
            grid: cells, command and data_digest; made, with what else there is to run it again.
            has_run: whether the command runs a cell; else that which ran the same cells is told of.

        Raises:
            ConfigError: `name` is not a plain file name.
        """
        if not GRID_NAME.fullmatch(name):
            raise ConfigError(f"grid name {name!r}: allowed are letters, digits, '.', '_' and '-'")
        check_inside(self.root, self.root / GRIDS)
        path, known = self.grid_file(name), records(self.root, name)
        before = self._recorded(name)
        if before and ("commands" not in before or has_more(before, known.values())):
            # an older version's, or of a record that is damaged: they have no other place
            keep_record(self.root, name, before, known)
        content = {"schema_version": SCHEMA_VERSION, "name": name, **grid}
        newest = keep_record(self.root, name, content, known, has_run=has_run)
        known = records(self.root, name, known)  # another driver may have come between
        if (whole := {"schema_version": SCHEMA_VERSION, **merged(known, newest)}) != before:
            write_json(path, whole)

    def _recorded(self, name: str) -> dict[str, Any]:
        """Return what is in a grid's file, nothing if it is not there or damaged."""
        path = self.grid_file(name)
        try:
            return checked_grid(path, read_json(path)) if is_there(path) else {}
        except CorruptError as error:
            logger.warning("%s; it is written anew", error)
            return {}

    def grid_file(self, name: str) -> Path:
        """Return the file of a grid, whether or not it exists."""
        return self.root / GRIDS / f"{name}.json"

    def grids(self) -> list[str]:
        """Return the names of all grids in the storage."""
        names = (path.stem for path in (self.root / GRIDS).glob("*.json"))
        return sorted(name for name in names if GRID_NAME.fullmatch(name))  # others are not ours

    @not_collected()
    def read_grid(self, name: str) -> dict[str, Any]:
        """Return a grid: all cells that `write_grid` recorded for it, and the newest command.

        Args:
            name: NAME@last is what the newest command had, NAME@ID another grid of that name.

        Raises:
            ConfigError: the storage has no such grid.
        """
        name, _, which = name.partition("@")
        names = self.grids()
        if name not in names:
            known = ", ".join(names) or "none yet; `curvetune grid digits` makes one"
            raise ConfigError(
                f"unknown grid {name!r}{nearest(name, names)}; "
                f"in the storage {address_of(self.root) or self.root} are: {known}"
            )
        path = self.grid_file(name)
        check_inside(self.root, path.parent)
        return whole_grid(self.root, name, checked_grid(path, read_json(path)), which)

    def kept(self, name: str) -> list[str]:
        """Return what other grids of the same name are called: of other data, or another base."""
        return [str(one["grid"]) for one in self.read_grid(name).get("others", ())]
