"""Reads what a storage has measured: earlier cells and probes, and the short runs of `--calibrate`.

    estimates/calibrated.json    short runs, the newest of each kind

Nothing is checked against checksums here: a price may rest on a file that a result may not. A run
whose files say too little is left out.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curvetune.config import CellConfig, restored
from curvetune.config.shared import PerSection, SharedSections
from curvetune.errors import StorageError, printable
from curvetune.planning.price.evidence import (
    Earlier,
    Evidence,
    Sample,
    phase_of_final,
    phases_of_probe,
    positive,
)
from curvetune.store.files import read_json, write_json
from curvetune.store.names import CELLS, CONFIG, DONE, ESTIMATES, HISTORY, MANIFEST, PROBES

CALIBRATED = Path(ESTIMATES) / "calibrated.json"
SCHEMA_VERSION = 1
KEPT = 1000  # short runs

BAD = (
    StorageError,
    ValidationError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
)


@dataclass(frozen=True)
class Done:
    """How long a run took of its device, and when it ended."""

    device: str
    seconds: float
    finished: float


@dataclass(frozen=True)
class StorageMeasured:
    """What a storage knows of time."""

    evidence: Evidence
    cells: Mapping[str, Done]  # of the final training
    probes: Mapping[str, Done]


def read_measured(storage: Path) -> StorageMeasured:
    """Return what `storage` has measured; it need not exist."""
    cells = dict(_cells(storage))
    workers = {cell_id: runs.workers for cell_id, (runs, _) in cells.items()}
    probes = dict(_probes(storage, workers))
    earlier = [run for run, _ in cells.values()]
    earlier += [phase for phases, _ in probes.values() for phase in phases]
    return StorageMeasured(
        Evidence(earlier, read_calibrated(storage)),
        {cell_id: done for cell_id, (_, done) in cells.items()},
        {probe_id: done for probe_id, (_, done) in probes.items()},
    )


def read_calibrated(storage: Path) -> list[Sample]:
    """Return the short runs that were made for this storage."""
    try:
        entries = list(read_json(storage / CALIBRATED)["samples"])
    except BAD:
        return []
    found = []
    for entry in entries:
        with contextlib.suppress(*BAD):
            found.append(Sample.from_json(entry))
    return found


def add_calibrated(storage: Path, samples: Sequence[Sample]) -> None:
    """Keep short runs beside those that are there; the newest of each kind stays.

    Raises:
        StorageError: they cannot be written.
    """
    newest = {(s.phase, s.device, s.workers): s for s in (*read_calibrated(storage), *samples)}
    entries = [sample.to_json() for sample in list(newest.values())[-KEPT:]]
    write_json(storage / CALIBRATED, {"schema_version": SCHEMA_VERSION, "samples": entries})


def _cells(storage: Path) -> Iterator[tuple[str, tuple[Earlier, Done]]]:
    sections, phases = SharedSections(), PerSection()
    for folder in _folders(storage / CELLS):
        try:
            done = read_json(folder / DONE)
            config = restored(read_json(folder / CONFIG))
            config.pop("data_digest", None)
            yield folder.name, _cell(folder, done, sections.stored(config), phases)
        except BAD:
            continue


def _cell(
    folder: Path, done: Mapping[str, Any], cell: CellConfig, phases: PerSection
) -> tuple[Earlier, Done]:
    samples = int(done["num_samples"])
    decide = cell.data, cell.model, cell.allocate, cell.method
    (phase,) = phases.once(lambda: phase_of_final(cell, samples), str(samples), *decide)
    workers = int(positive(done.get("workers", 1)))
    seconds = positive(float(done["seconds"]["allocate"]))
    device, finished = printable(done["device"]), float(done["finished"])
    history = folder / HISTORY
    run = Earlier(phase, device, workers, finished, history, total=seconds)
    return run, Done(device, seconds / workers, finished)


def _probes(
    storage: Path, workers: Mapping[str, int]
) -> Iterator[tuple[str, tuple[list[Earlier], Done]]]:
    for folder in _folders(storage / PROBES):
        try:
            manifest = read_json(folder / MANIFEST)
            sharing = workers.get(str(manifest.get("cell_id")), 1)
            yield folder.name, _probe(folder, manifest, sharing)
        except BAD:
            continue


def _probe(folder: Path, manifest: Mapping[str, Any], workers: int) -> tuple[list[Earlier], Done]:
    identity = manifest["identity"]
    phases = phases_of_probe(
        identity["split"]["data"],
        identity["model"],
        identity["probe"],
        int(manifest["shape"][0]),
    )
    seconds, finished = positive(float(manifest["seconds"])), float(manifest["finished"])
    device, history = printable(manifest["device"]), folder / HISTORY
    total = seconds if len(phases) == 1 else None
    runs, first = [], 0
    for phase in phases:
        runs.append(Earlier(phase, device, workers, finished, history, first, total))
        first += phase.epochs
    return runs, Done(device, seconds / workers, finished)


def _folders(parent: Path) -> Iterator[Path]:
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return
    yield from (parent / name for name in names)
