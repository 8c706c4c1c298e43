"""Packs what a storage needs to go on elsewhere into a few small files.

FILE.1of3, FILE.2of3 and so on: one gzipped tar, cut into parts; unpack.py reads them.

What goes in: the grids; of a finished cell its DONE.json, config and history; of a begun one its
checkpoint as well; the split of what is begun; and the probes, stored or begun, that a cell which
is not done still needs. Left out: the classifiers of finished cells and their values per sample,
so DONE.json lists fewer files after the journey; probes that nobody needs any more; logs.

Curves travel as they are, and then all numbers end where they would have without the journey. Only
if all of it is larger than `limit`, the largest curves are rounded to 16 bits (a relative error of
up to 1/2048, far below what augmentation does to a loss, but losses below 6e-8 become 0, and the
numbers are no longer the same bit for bit). That is said in the probe's rounded.json and manifest,
and in the `rounded_curves` of every cell that reads them. Margins are in 16 bits anyhow. If that is
not enough, what took the least time so far stays behind.
"""

import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curvetune.config.load import stored_config
from curvetune.errors import ConfigError
from curvetune.offline.parts import LIMIT, MIB, PART, part, parts
from curvetune.store import CellStore, CurveStore
from curvetune.store.checksums import sha256
from curvetune.store.files import encode, folder_of, sealed, write_atomic
from curvetune.store.history import read_rows
from curvetune.store.names import (
    CHECKPOINT,
    CONFIG,
    CURVES,
    DONE,
    GRIDS,
    HISTORY,
    MANIFEST,
    ROUNDED,
    SPLITS,
)
from curvetune.store.splits import split_file
from curvetune.training.checkpoint import load_state, save_state

LARGEST = float(np.finfo(np.float16).max)
KEPT = (CONFIG, HISTORY)  # of a finished cell, beside DONE.json


@dataclass(frozen=True)
class Item:
    """Some files of the storage that travel together or not at all."""

    folder: str  # inside the storage
    names: tuple[str, ...]
    size: int  # bytes, or a little less: texts are counted compressed
    seconds: float = 0.0  # of the work in it
    curve_bytes: int = 0  # of its size
    optional: bool = False
    rounded: bool = False

    @property
    def bytes(self) -> int:
        """Its size with rounded curves, if they are."""
        return self.size - (self.curve_bytes // 2 if self.rounded else 0)


def fit(items: Iterable[Item], limit: int) -> list[Item]:
    """Return the items that fit into `limit` bytes, with as few rounded curves as that takes.

    Curves are rounded before anything is left out: the largest first. What took the least time is
    left out first.

    Raises:
        ConfigError: what must not be left out is larger than that.
    """
    kept = list(items)
    while (chosen := _rounded(kept, limit)) is None:
        optional = [item for item in kept if item.optional]
        if not optional:
            size = sum(item.bytes for item in kept) / MIB
            raise ConfigError(
                f"--pack: the finished results alone are {size:.1f} MiB and the limit is "
                f"{limit / MIB:.1f}; raise --pack-limit, or carry the lines and pack a new storage"
            )
        kept.remove(min(optional, key=lambda item: item.seconds))
    return chosen


def _rounded(items: Sequence[Item], limit: int) -> list[Item] | None:
    """Return all of `items`, the largest curves rounded where they must be; None if too large."""
    chosen = list(items)
    for k in sorted(range(len(chosen)), key=lambda k: -chosen[k].curve_bytes):
        if sum(item.bytes for item in chosen) <= limit:
            break
        chosen[k] = replace(chosen[k], rounded=chosen[k].curve_bytes > 0)
    return chosen if sum(item.bytes for item in chosen) <= limit else None


def pack(storage: Path, file: Path, limit: int = LIMIT, part_size: int = PART) -> str:
    """Write the parts of `file`, replacing older ones; return in words what they hold.

    Raises:
        ConfigError: the finished results alone are larger than `limit` bytes.
        StorageError: they cannot be written.
    """
    found = list(worth_carrying(storage))
    chosen = fit(found, limit)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for item in chosen:
            for name, content in _contents(storage, item).items():
                member = tarfile.TarInfo(f"{item.folder}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    for old in parts(file):
        old.unlink()
    count = -(-len(content) // part_size)
    for k in range(count):
        write_atomic(part(file, k + 1, count), content[k * part_size : (k + 1) * part_size])
    return _summary(file, found, chosen, len(content), count)


def worth_carrying(storage: Path) -> Iterable[Item]:
    """Yield what a run that goes on elsewhere needs, and every result."""
    cells = CellStore(storage)
    probes: set[str] = set()
    splits: set[str] = set()
    for name in cells.grids():
        grid = cells.read_grid(name)
        yield _item(storage, GRIDS, [f"{name}.json"])
        for entry in grid["cells"]:
            folder = cells.folder(entry["cell_id"])
            if (folder / DONE).exists():
                continue
            begun = [folder, *([_probe(storage, entry)] if entry["probe_id"] else [])]
            # corrected labels do not travel, but the split that was made of them does
            is_relabelled = entry["config"]["data"].get("relabel") is not None
            if is_relabelled or any((path / HISTORY).exists() for path in begun):
                config = stored_config(entry["config"], f"grid {name}")
                splits.add(split_file(storage, config.split_id(grid["data_digest"])).name)
            probes |= {entry["probe_id"]} - {None}
    yield from (_item(storage, SPLITS, [name]) for name in sorted(splits))
    for folder in sorted((storage / "cells").glob("*/")):
        yield from _cell(storage, folder)
    for probe_id in sorted(probes):
        yield from _probe_item(storage, folder_of(storage, "probes", probe_id))


def _probe(storage: Path, entry: dict[str, Any]) -> Path:
    return folder_of(storage, "probes", entry["probe_id"])


def _cell(storage: Path, folder: Path) -> Iterable[Item]:
    name = f"cells/{folder.name}"
    if CellStore(storage).result(folder.name) is not None:  # whole: new checksums are made of it
        yield _item(storage, name, [*KEPT, DONE])
    elif (folder / CHECKPOINT).exists():
        yield _item(storage, name, [*KEPT, CHECKPOINT], optional=True)


def _probe_item(storage: Path, folder: Path) -> Iterable[Item]:
    name, store = f"probes/{folder.name}", CurveStore(storage)
    if store.has(folder.name):
        files = store.manifest(folder.name)["files"]
        item = _item(storage, name, [*files, ROUNDED, MANIFEST], optional=True)
        yield replace(item, curve_bytes=(folder / CURVES).stat().st_size)
    elif (folder / CHECKPOINT).exists():
        curves = load_state(folder / CHECKPOINT)["curves"]
        item = _item(storage, name, [HISTORY, ROUNDED, CHECKPOINT], optional=True)
        yield replace(item, curve_bytes=curves.nbytes)


def _item(storage: Path, folder: str, names: Sequence[str], *, optional: bool = False) -> Item:
    """Return those of the named files that are there."""
    paths = [path for name in names if (path := storage / folder / name).exists()]
    seconds = sum(
        row["seconds"] for path in paths if path.name == HISTORY for row in read_rows(path)
    )
    return Item(
        folder, tuple(path.name for path in paths), sum(map(_size, paths)), seconds, 0, optional
    )


def _size(path: Path) -> int:
    """Return the bytes that a file takes in the pack; arrays of numbers hardly shrink."""
    if path.suffix in (".json", ".jsonl") or path.parent.name == SPLITS:
        return len(zlib.compress(path.read_bytes(), 1))
    return path.stat().st_size


def _contents(storage: Path, item: Item) -> dict[str, bytes]:
    """Return the files of an item as they travel; what makes it whole comes last."""
    folder = storage / item.folder
    contents = {name: (folder / name).read_bytes() for name in item.names}
    if DONE in contents:
        done = json.loads(contents[DONE])
        done["files"] = {name: sha256(folder / name) for name in KEPT if name in contents}
        contents[DONE] = encode(sealed(done))
    if item.rounded:
        name = CURVES if CURVES in contents else CHECKPOINT
        half, epochs = _half_curves(folder / name)
        mark = json.dumps({"to": "float16", "epochs": epochs}).encode() + b"\n"
        contents = {ROUNDED: mark} | contents | {ROUNDED: mark, name: half}
    return contents


def _half_curves(path: Path) -> tuple[bytes, int]:
    """Return a file with its curves, (N, T), in 16 bits, and T.

    A loss beyond the range of 16 bits becomes the largest in it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / path.name
        if path.name == CURVES:
            curves = np.load(path, allow_pickle=False)
            np.save(copy, curves.clip(max=LARGEST).astype(np.float16), allow_pickle=False)
        else:
            state = load_state(path)
            curves = state["curves"]
            save_state(copy, state | {"curves": curves.clamp(max=LARGEST).half()})
        return copy.read_bytes(), curves.shape[1]


def _summary(file: Path, items: Sequence[Item], chosen: Sequence[Item], size: int, n: int) -> str:
    packed = {item.folder for item in chosen}
    rounded = [item.folder for item in chosen if item.rounded]
    left = [f"{i.folder} ({i.seconds:.0f} s of work)" for i in items if i.folder not in packed]
    words = [
        f"packed {file.name}: {size / MIB:.1f} MiB in {n} part(s)",
        f"curves rounded to 16 bits: {', '.join(rounded) or 'none'}",
        f"left behind: {', '.join(left) or 'nothing'}",
    ]
    return "; ".join(words)
