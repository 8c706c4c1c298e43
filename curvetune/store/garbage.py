"""What in a storage nobody needs: no grid refers to it, or a killed process left it behind.

A result is never garbage by itself: one that no grid refers to is found, and says that it is one.
Nothing is removed while a process that is alive holds it, and nothing outside the root: links are
left alone, and so is every name that is not ours.

Leases stay where they are. A process that was only frozen, on another machine, then still finds
that its token is not the newest. A folder that holds nothing else goes a day later.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curvetune.config import CellConfig, restored
from curvetune.config.load import validate
from curvetune.errors import BusyError, ConfigError, CorruptError, StorageError
from curvetune.store.cells import CellStore
from curvetune.store.files import ID, read_json, remove
from curvetune.store.lease import NAME as LEASE
from curvetune.store.lease import leased, read_holder, storage_time
from curvetune.store.names import CHECKPOINT, CONFIG, DONE, MANIFEST, TUNE
from curvetune.store.remote.paths import mirror_of

KEPT_S = 3600.0  # how long a temporary file, or Ray Tune's state, may be in use
FROZEN_S = 86400.0  # how long a process may have been frozen
PUBLISHED = {"cells": DONE, "probes": MANIFEST}

GarbageKind = Literal["result", "cell", "probe", "split", "checkpoint", "temporary", "image"]


@dataclass(frozen=True)
class Garbage:
    """Something that nobody needs.

    Args:
        kind: `result` is a done cell that no grid refers to, `cell` one that is not done, `image`
            what this machine's cache has of decoded images.
        path: relative to the root; of an image absolute, since it is elsewhere.
    """

    kind: GarbageKind
    path: Path
    size: int  # bytes


@dataclass
class Needed:
    """What grids refer to, cells that are run now, and what these read.

    `splits` also has those of results that no grid refers to: a split says which labels were
    wrong, so without it a result's values per sample say little. It has None for one that cannot
    be told.
    """

    cells: set[str]
    probes: set[str | None]
    splits: set[str | None]

    def add(self, config: Mapping[str, Any], digest: object, *, is_result: bool = False) -> bool:
        """Add what a cell reads, but for the probe of a result; say whether that can be told."""
        try:
            cell = validate(config, CellConfig, "a cell")
        except ConfigError:  # of another version
            cell = None
        if cell is None or not isinstance(digest, str):
            self.splits.add(None)
            return False
        self.splits.add(cell.split_id(digest))
        if not is_result:
            self.probes.add(cell.probe_id(digest))
        return True


def find_garbage(root: Path, now: float | None = None) -> list[Garbage]:
    """Return what nobody needs in the storage at `root`, by kind and path; changes nothing.

    Args:
        now: Unix seconds, by the clock of the file system.

    Raises:
        CorruptError: the file of a grid is damaged, so that nobody knows what it refers to.
        BusyError: a process that is alive works on something unknown.
    """
    now = storage_time(root) if now is None else now
    needed = _referred(root)
    _add_cells(root, needed)
    found = [
        *_folders(root, "cells", needed.cells, now),
        *_folders(root, "probes", needed.probes, now),
        *_splits(root, needed.splits),
        *_tune(root, now),
    ]
    whole = {item.path for item in found if item.kind in ("cell", "probe")}
    found += [item for item in _temporary(root, now) if item.path.parent not in whole]
    return sorted(found, key=lambda item: (item.kind, str(item.path)))


def remove_garbage(root: Path, items: Iterable[Garbage]) -> Iterator[tuple[Garbage, str]]:
    """Remove each of `items` and yield it with "", or with why it was not removed."""
    for item in items:
        path = root / item.path
        try:
            _remove(path, item.kind)
        except (BusyError, StorageError) as error:
            yield item, str(error)
        except OSError as error:
            yield item, f"{path}: cannot be removed ({error.strerror})"
        else:
            yield item, ""


def _remove(path: Path, kind: GarbageKind) -> None:
    if kind in ("cell", "result", "probe"):
        _remove_folder(path)
    elif kind == "checkpoint":
        with _held(path.parent):
            remove(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        remove(path)


def _referred(root: Path) -> Needed:
    """Return what the grids of the storage at `root` refer to."""
    store = CellStore(root)
    needed = Needed(set(), set(), set())
    names = store.grids()
    for name in [*names, *(other for one in names for other in store.kept(one))]:
        grid = store.read_grid(name)
        try:
            for entry in grid["cells"]:
                needed.cells.add(entry["cell_id"])
                needed.probes.add(entry["probe_id"])
                needed.add(entry["config"], grid["data_digest"])
        except (KeyError, TypeError) as error:
            raise CorruptError(
                f"grids/{name}.json: not the record of a grid ({error!r}), so nobody knows what "
                f"it refers to; run that grid's command again, or remove the file"
            ) from None
    return needed


def _add_cells(root: Path, needed: Needed) -> None:
    """Add what cells need that no grid refers to: those that are run now, and results."""
    for folder in _own(root / "cells"):
        if folder.name in needed.cells:
            continue
        is_held = _is_held(folder)
        if not (is_held or (folder / PUBLISHED["cells"]).exists()):
            continue
        try:
            config = restored(read_json(folder / CONFIG))
        except CorruptError:
            config = {}
        digest = config.pop("data_digest", None)
        if not needed.add(config, digest, is_result=not is_held) and is_held:
            raise BusyError(
                f"{folder}: {read_holder(folder)} has just begun it, or is of another version; "
                f"try again later",
                str(folder),
            )


def _folders(
    root: Path, kind: str, needed: AbstractSet[str | None], now: float
) -> Iterator[Garbage]:
    """Yield folders of `cells` or `probes` that are not needed, and checkpoints of done ones."""
    for folder in _own(root / kind):
        if not folder.is_dir() or not ID.fullmatch(folder.name) or _is_held(folder):
            continue
        is_published = (folder / PUBLISHED[kind]).exists()
        path = folder.relative_to(root)
        if folder.name in needed:
            checkpoint = folder / CHECKPOINT
            if is_published and checkpoint.is_file():
                yield Garbage("checkpoint", path / CHECKPOINT, _size(checkpoint))
        elif _has_content(folder) or _age(folder, now) > FROZEN_S:
            word: GarbageKind = (
                "probe" if kind == "probes" else "result" if is_published else "cell"
            )
            yield Garbage(word, path, _size(folder))


def _splits(root: Path, needed: AbstractSet[str | None]) -> Iterator[Garbage]:
    if None in needed:
        return
    for path in _own(root / "splits"):
        is_split = path.suffix == ".safetensors" and ID.fullmatch(path.stem)
        if is_split and path.stem not in needed:
            yield Garbage("split", path.relative_to(root), _size(path))


def _temporary(root: Path, now: float) -> Iterator[Garbage]:
    """Yield the files that a killed process was writing, or had its last words in."""
    folders = [root / "splits", root / "grids"]
    for kind in PUBLISHED:
        folders += [f for f in _own(root / kind) if f.is_dir() and not _is_held(f)]
    for folder in folders:
        for path in _own(folder):
            is_temporary = path.name.startswith(".") and path.name.count(".") > 1
            is_log = path.name.startswith("hang-") and path.suffix == ".log"
            if (is_temporary or is_log) and path.is_file() and _age(path, now) > KEPT_S:
                yield Garbage("temporary", path.relative_to(root), _size(path))


def _tune(root: Path, now: float) -> Iterator[Garbage]:
    """Yield what commands that were killed left of Ray Tune's state, if no cell is run now."""
    left = [path for path in _own(root / TUNE) if _age(path, now) > KEPT_S]
    if left and not any(_is_held(f) for kind in PUBLISHED for f in _own(root / kind)):
        yield from (Garbage("temporary", path.relative_to(root), _size(path)) for path in left)


def _remove_folder(folder: Path) -> None:
    """Remove what is in a folder, except leases: what makes it a result first."""
    mirror = mirror_of(folder)
    if not _has_content(folder):
        if mirror is not None:
            mirror.remove(mirror.below(folder))
        shutil.rmtree(folder)
        return
    with _held(folder):
        remove(*(folder / name for name in PUBLISHED.values()))
        if mirror is not None:  # what is not here, too
            mirror.remove(p for p in mirror.below(folder) if not LEASE.fullmatch(p.name))
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif not LEASE.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lease of a folder, if there is space to write one.

    Raises:
        BusyError: a process that is alive holds it.
    """
    if _is_held(folder):
        raise BusyError(f"{folder}: {read_holder(folder)} is working on it", str(folder))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(StorageError):  # a full disk, which is to be freed
            stack.enter_context(leased(folder))
        yield


def _own(folder: Path) -> list[Path]:
    """Return what is in a folder of ours, links left out; nothing if it is a link itself."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def _is_held(folder: Path) -> bool:
    holder = read_holder(folder)
    return holder is not None and holder.alive


def _has_content(folder: Path) -> bool:
    return any(not LEASE.fullmatch(path.name) for path in folder.iterdir())


def _age(path: Path, now: float) -> float:
    """Return how many seconds ago something was written; 0 if it is just gone."""
    try:
        return now - path.lstat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 of what is just gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(inner) for inner in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0
