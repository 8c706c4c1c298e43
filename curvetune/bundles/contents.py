"""What of a storage goes into a bundle: known to be whole, and how large, before it is written."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curvetune.bundles.layout import (
    CELL_FILES,
    FACTS,
    PROBE_FILES,
    stored,
)
from curvetune.bundles.portable import portable
from curvetune.config import CellConfig
from curvetune.config.load import stored_config
from curvetune.errors import ConfigError, CorruptError
from curvetune.grids.cells import Cell, Grid, read_grid
from curvetune.grids.own import KEY as CLASS_SIZES
from curvetune.store import CellStore, CurveStore
from curvetune.store.facts import read_facts
from curvetune.store.files import encode, sealed
from curvetune.store.names import (
    CELLS,
    DONE,
    GRIDS,
    MANIFEST,
    MODEL,
    PROBES,
    RELABELS,
    SPLITS,
    STEP_TIMES,
)
from curvetune.store.plain import is_there, open_plain
from curvetune.store.relabels import read_relabel, relabel_file
from curvetune.store.splits import read_split, split_file


@dataclass(frozen=True)
class Piece:
    """A file of a storage, and what it is called in a bundle."""

    path: str
    source: Path
    size: int


@dataclass
class Contents:
    """The part of a storage that a grid is.

    Args:
        name: what the grid is called.
        record: its record as it may leave this machine.
        pieces: files that are copied, by kind.
        small: files that are made, by their path in the bundle.
        notes: what is left out since it is damaged, a line each.
    """

    name: str
    grid: Grid
    record: dict[str, Any]
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def lacking(self) -> list[Cell]:
        """The cells without a result."""
        return [cell for cell in self.grid.cells if cell.result is None]

    def leave_out(self, what: str, error: Exception, storage: Path) -> None:
        """Note what is left out, and why, without the place of the storage."""
        self.notes.append(f"{what} left out: {str(error).replace(f'{storage}/', '')}")

    def size(self, kind: str) -> int:
        """Return how many bytes the files of a kind have."""
        return sum(piece.size for piece in self.pieces.get(kind, ()))

    def all_pieces(self) -> Iterator[Piece]:
        """Yield the files that are copied, in the order of their paths."""
        every = [piece for pieces in self.pieces.values() for piece in pieces]
        yield from sorted(every, key=lambda piece: piece.path)


def find_contents(
    storage: Path, grid: str, *, curves: bool = True, models: bool = True
) -> Contents:
    """Return what of a storage belongs to a grid, each result and probe checked.

    Args:
        curves: whether the probes are to be in it.
        models: whether the classifiers of the cells are.

    Raises:
        ConfigError: there is no such grid, or none of its cells is done.
    """
    store = CellStore(storage)
    whole = store.read_grid(grid)
    name = grid.partition("@")[0]
    found = Contents(name, read_grid(storage, grid), portable(whole, name))
    if len(found.lacking) == len(found.grid.cells):
        raise ConfigError(
            f"{grid}: none of its {len(found.grid.cells)} cells is done, so there is nothing to "
            f"bundle; `curvetune status {grid}` says how far it is"
        )
    found.small[stored(GRIDS, f"{name}.json")] = encode(found.record)
    _add_cells(found, store, models=models)
    if curves:
        _add_probes(found, CurveStore(storage))
    _add_splits(found, storage)
    _add_facts(found, storage)
    return found


def lighter(done: Mapping[str, Any], names: Collection[str]) -> bytes:
    """Return DONE.json of a result of which only files of these names are kept."""
    kept = {key: value for key, value in done.items() if key != "etags"}
    files = {name: digest for name, digest in done["files"].items() if name in names}
    return encode(sealed({**kept, "files": files}))


def _add_cells(found: Contents, store: CellStore, *, models: bool) -> None:
    pieces, done = [], 0
    for cell in found.grid.cells:
        if cell.result is None:
            continue
        done += 1
        names = [name for name in CELL_FILES if name in (*cell.result["files"], DONE)]
        if not models and MODEL in names:
            names = [name for name in names if name not in (MODEL, DONE)]
            found.small[stored(CELLS, cell.cell_id, DONE)] = lighter(cell.result, names)
        pieces += _pieces(store.folder(cell.cell_id), (CELLS, cell.cell_id), names)
    found.pieces[CELLS], found.counts[CELLS] = pieces, done


def _add_probes(found: Contents, store: CurveStore) -> None:
    pieces, whole = [], 0
    for probe_id in dict.fromkeys(cell.probe_id for cell in found.grid.cells if cell.probe_id):
        if not store.has_manifest(probe_id):
            continue
        try:
            files = store.manifest(probe_id)["files"]
        except CorruptError as error:
            found.leave_out(f"probe {probe_id} is", error, store.root)
            continue
        names = [name for name in PROBE_FILES if name in (*files, MANIFEST)]
        pieces += _pieces(store.folder(probe_id), (PROBES, probe_id), names)
        whole += 1
    found.pieces[PROBES], found.counts[PROBES] = pieces, whole


def _add_splits(found: Contents, storage: Path) -> None:
    """Add splits, and the corrected labels that cells of the grid are about."""
    digest, splits, labels = found.grid.digest, [], []
    configs = [stored_config(cell.config, f"grid {found.name}") for cell in found.grid.cells]
    for split_id, config in {one.split_id(digest): one for one in configs}.items():
        path = split_file(storage, split_id)
        if is_there(path) and _is_whole(found, storage, config, split_id):
            splits += _pieces(path.parent, (SPLITS,), [path.name])
    for relabel in dict.fromkeys(one.data.relabel for one in configs if one.data.relabel):
        try:
            read_relabel(storage, relabel, digest)
        except (ConfigError, CorruptError) as error:
            found.leave_out(f"corrected labels {relabel} are", error, storage)
            continue
        path = relabel_file(storage, relabel)
        labels += _pieces(path.parent, (RELABELS,), [path.name])
    found.pieces[SPLITS], found.counts[SPLITS] = splits, len(splits)
    found.pieces[RELABELS], found.counts[RELABELS] = labels, len(labels)


def _is_whole(found: Contents, storage: Path, config: CellConfig, split_id: str) -> bool:
    try:
        read_split(storage, split_id, config.split_identity(found.grid.digest))
    except CorruptError as error:
        found.leave_out(f"split {split_id} is", error, storage)
        return False
    return True


def _add_facts(found: Contents, storage: Path) -> None:
    """Add how large the classes are, and the times of a step: tables tell of both."""
    from curvetune.report.tables.step_times import read_step_times

    sizes = (read_facts(storage, found.grid.digest) or {}).get(CLASS_SIZES)
    if sizes is not None:
        path = stored(FACTS, f"{found.grid.digest}.json")
        found.small[path] = encode({CLASS_SIZES: sizes})
    try:
        times = read_step_times(storage, found.name)
    except CorruptError as error:
        found.leave_out("the times of a step are", error, storage)
        return
    if times is not None:
        found.small[stored(STEP_TIMES, f"{found.name}.json")] = encode(times)


def _pieces(folder: Path, inside: tuple[str, ...], names: Sequence[str]) -> list[Piece]:
    return [Piece(stored(*inside, name), folder / name, _size(folder / name)) for name in names]


def _size(path: Path) -> int:
    """Return the bytes of a file, which is brought if only the object store has it."""
    with os.fdopen(open_plain(path), "rb") as file:
        return os.fstat(file.fileno()).st_size
