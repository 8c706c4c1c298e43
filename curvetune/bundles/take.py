"""Takes a bundle's cells, probes and splits into a storage: `curvetune import BUNDLE`.

What is whole is published as if it had been run here; what is there already stays. What is damaged
or missing costs itself and is said. Nothing in a bundle is run.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from curvetune.bundles.checked import Checked
from curvetune.bundles.layout import FACTS, STORAGE, contents_of
from curvetune.bundles.reader import Reader
from curvetune.bundles.writer import AT_ONCE
from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import (
    BusyError,
    ConfigError,
    CorruptError,
    CurvetuneError,
    LostLeaseError,
    printable,
)
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_matrix
from curvetune.store.commands import is_same_grid
from curvetune.store.facts import read_facts, write_facts
from curvetune.store.files import ID, SEAL, remove, write_atomic, write_json
from curvetune.store.lease import Lease, leased
from curvetune.store.names import (
    CELLS,
    CHECKPOINT,
    CURVES,
    HISTORY,
    MARGINS,
    MODEL,
    PROBES,
    RELABELS,
    ROUNDED,
    SPLITS,
    STEP_TIMES,
    step_times_file,
)
from curvetune.store.plain import is_there, open_plain
from curvetune.store.relabels import relabel_file, write_relabel
from curvetune.store.splits import split_file

KINDS = (SPLITS, RELABELS, PROBES, CELLS)
WORDS = {SPLITS: "split", RELABELS: "relabelling", PROBES: "probe", CELLS: "cell"}
NOT_A_RESULT = ("schema_version", "cell_id", "files", "etags", SEAL)
NOT_INFO = ("schema_version", "probe_id", "shape", "files", "etags", "rounded", SEAL)
# What files that anybody may have written can raise.
FAULTS = (CurvetuneError, ValueError, LookupError, TypeError)

At = Callable[[str], object]


@dataclass
class Taken:
    """What came of an import.

    Args:
        new, there: how many of each kind were taken, and were in the storage already.
        refused: what was not taken, and why, a line each.
    """

    grid: str
    new: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    is_recorded: bool = False


def take_bundle(path: Path, storage: Path, *, name: str = "", at: At = lambda far: None) -> Taken:
    """Put what a bundle has into a storage, unless that has it.

    Args:
        name: what the grid is to be called here; as in the bundle unless given.
        at: hears how far it is.

    Raises:
        ConfigError: there is no such file, or the storage has another grid of that name.
        CorruptError: it is no bundle, or not all of one.
        StorageError: the storage cannot be written.
    """
    with Reader(path) as reader, tempfile.TemporaryDirectory(prefix="curvetune-import-") as room:
        importing = _Importing(reader, Checked(reader, Path(room)), storage, name or reader.name)
        return importing.run(at)


class _Importing:
    """One import."""

    def __init__(self, reader: Reader, checked: Checked, storage: Path, name: str) -> None:
        if not GRID_NAME.fullmatch(name):
            raise ConfigError(
                f"grid name {printable(name)!r}: allowed are letters, digits, '.', '_' and '-'; "
                f"give it with --name"
            )
        self._reader = reader
        self._checked = checked
        self._storage = storage
        self._cells = CellStore(storage)
        self._curves = CurveStore(storage)
        self._taken = Taken(name)

    def run(self, at: At) -> Taken:
        """Take everything, the record of the grid last."""
        record = self._record()
        items = self._items()
        for k, (kind, name) in enumerate(items):
            at(f"{k:,} of {len(items):,}")
            self._take(kind, name)
        self._take_facts()
        if record is not None and self._taken.new[CELLS] + self._taken.there[CELLS]:
            kept = {key: record[key] for key in ("cells", "data_digest")}
            more = {"made": record["made"]} if "made" in record else {}
            command = {"command": str(record.get("command", ""))}
            self._cells.write_grid(self._taken.grid, {**kept, **command, **more}, has_run=False)
            self._taken.is_recorded = True
        return self._taken

    def _record(self) -> dict[str, Any] | None:
        """Return the record of the grid; None of a damaged one, which is said.

        Raises:
            ConfigError: the storage has another grid of that name.
        """
        try:
            record = self._checked.record(self._reader.name)
        except FAULTS as error:
            self._taken.refused.append(f"the record of the grid: {printable(error, 500)}")
            return None
        name = self._taken.grid
        if name in self._cells.grids():
            known = self._cells.read_grid(name)
            shared = {one["cell_id"] for one in record["cells"]} & {
                one["cell_id"] for one in known["cells"]
            }
            if not shared and not is_same_grid(record, known):
                raise ConfigError(
                    f"the storage has another grid {name}, of {len(known['cells'])} cells, whose "
                    f"data or options are others; give this one a name of its own: --name NAME"
                )
        return record

    def _items(self) -> list[tuple[str, str]]:
        """Return what the bundle has or should have, by kind and id."""
        paths = {*self._reader.files, *self._reader.refused}
        try:
            paths |= contents_of(self._reader.about()).keys()
        except CurvetuneError as error:
            self._taken.refused.append(printable(error, 500))
        found: dict[tuple[str, str], None] = {}
        for path in sorted(paths):
            parts = path.split("/")
            if len(parts) > 2 and parts[0] == STORAGE and parts[1] in KINDS:
                name = parts[2].partition(".")[0]
                if ID.fullmatch(name):
                    found[parts[1], name] = None
        return sorted(found, key=lambda item: KINDS.index(item[0]))

    def _take(self, kind: str, name: str) -> None:
        put = {
            SPLITS: self._put_split,
            RELABELS: self._put_relabel,
            PROBES: self._put_probe,
            CELLS: self._put_cell,
        }[kind]
        try:
            (self._taken.new if put(name) else self._taken.there)[kind] += 1
        except (BusyError, LostLeaseError) as error:
            self._taken.refused.append(f"{WORDS[kind]} {name}: {error}")
        except (CorruptError, ConfigError, ValueError, LookupError, TypeError) as error:
            why = printable(error, 500).replace(f"{self._checked.cells.root}/", "")
            self._taken.refused.append(f"{WORDS[kind]} {name}: {why}")
        finally:
            self._checked.drop(kind, name)

    def _put_cell(self, cell_id: str) -> bool:
        """Publish a cell unless it is there; say whether it was not."""
        if self._cells.result(cell_id) is not None:
            return False
        done = self._checked.cell(cell_id)
        source, target = self._checked.cells.folder(cell_id), self._cells.folder(cell_id)
        with leased(target) as lease:
            if self._cells.result(cell_id) is not None:
                return False
            self._cells.discard(cell_id)
            names = list(done["files"])
            self._copy(source, target, names)
            result = {key: value for key, value in done.items() if key not in NOT_A_RESULT}
            self._cells.publish(cell_id, result, files=names, lease=lease)
        return True

    def _put_probe(self, probe_id: str) -> bool:
        """Publish a probe unless it is there; say whether it was not."""
        if self._curves.has(probe_id):
            return False
        manifest = self._checked.probe(probe_id)
        with leased(self._curves.folder(probe_id)) as lease:
            if self._curves.has(probe_id):
                return False
            self._publish_probe(probe_id, manifest, lease)
        return True

    def _publish_probe(self, probe_id: str, manifest: dict[str, Any], lease: Lease) -> None:
        source, target = self._checked.curves.folder(probe_id), self._curves.folder(probe_id)
        files = manifest["files"]
        self._curves.discard(probe_id)
        begun = (HISTORY, MODEL, MARGINS, ROUNDED, CHECKPOINT)
        remove(*(target / name for name in begun))
        self._copy(source, target, [name for name in (HISTORY, MODEL) if name in files])
        if "rounded" in manifest:
            write_json(target / ROUNDED, manifest["rounded"])
        margins = self._checked.curves.margins(probe_id)
        info = {key: value for key, value in manifest.items() if key not in NOT_INFO}
        curves = load_matrix(source / CURVES, np.float32)
        self._curves.write(probe_id, curves, info, lease, margins)

    def _put_split(self, split_id: str) -> bool:
        target = split_file(self._storage, split_id)
        if is_there(target):
            return False
        write_atomic(target, _parts(self._checked.split(split_id)))
        return True

    def _put_relabel(self, digest: str) -> bool:
        if is_there(relabel_file(self._storage, digest)):
            return False
        write_relabel(self._storage, self._checked.relabel(digest))
        return True

    def _take_facts(self) -> None:
        """Take what tables tell of beside the cells, where nothing is known of it here."""
        for path in self._reader.files:
            kind, _, name = path.removeprefix(f"{STORAGE}/").partition("/")
            if kind not in (FACTS, STEP_TIMES):
                continue
            try:
                content = self._checked.text(kind, name)
                if not isinstance(content, dict):
                    raise CorruptError("no JSON object")
            except CorruptError as error:
                self._taken.refused.append(f"{path}: {printable(error, 500)}")
                continue
            if kind == FACTS and read_facts(self._storage, name.removesuffix(".json")) is None:
                write_facts(self._storage, name.removesuffix(".json"), content)
            times = step_times_file(self._storage, self._taken.grid)
            if kind == STEP_TIMES and not is_there(times):
                write_json(times, content)

    def _copy(self, source: Path, target: Path, names: list[str]) -> None:
        for name in names:
            write_atomic(target / name, _parts(source / name))


def _parts(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_plain(path), "rb") as file:
        while part := file.read(AT_ONCE):
            yield part
