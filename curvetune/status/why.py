"""Why a cell is as it is: what decides it, what it has come to, and which result is nearest.

The state itself, stale among others, is decided in grids/cells.py (`CellReader._state`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from curvetune.errors import ConfigError, CorruptError
from curvetune.grids.activity import epochs_of
from curvetune.grids.catalog import Catalog
from curvetune.grids.cells import Cell, CellReader
from curvetune.grids.identity import Keys, deciding_keys, default_keys, differing_keys, of_source
from curvetune.grids.own import class_sizes
from curvetune.status.failures import failure_json
from curvetune.store import CurveStore
from curvetune.store.arrays import load_arrays
from curvetune.store.lease import Holder, read_holder
from curvetune.store.names import CELLS, CHECKPOINT, MANIFEST, PROBES

SCHEMA_VERSION = 1

WhyState = Literal["done", "running", "failed", "stale", "paused", "cached", "waiting"]
ProbeState = Literal["stored", "damaged", "running", "missing"]


@dataclass(frozen=True)
class ProbeWhy:
    """The probe that a cell reads."""

    probe_id: str
    state: ProbeState
    holder: Holder | None


@dataclass(frozen=True)
class Nearest:
    """The result that differs in the fewest keys."""

    cell_id: str
    keys: Keys
    differing: list[str]


@dataclass(frozen=True)
class Why:
    """All that there is to say of a cell.

    Args:
        address: of its config in this version of curvetune; its own id unless the versions differ.
        checkpoint: how many epochs of the stage that it is in a checkpoint has.
    """

    cell: Cell
    state: WhyState
    grids: list[str]
    command: str
    keys: Keys
    defaults: frozenset[str]
    address: str
    probe: ProbeWhy | None
    checkpoint: int | None
    failure: dict[str, Any] | None
    nearest: Nearest | None


def explain(storage: Path, prefix: str) -> Why:
    """Return what there is to say of the cell whose id begins with `prefix`.

    Raises:
        ConfigError: there is no such cell, or more than one, or its config is of another version.
        CorruptError: the file of a grid, or the cell's config, is damaged.
    """
    catalog = Catalog(storage)
    cell_id = catalog.find(prefix)
    known = catalog.known(cell_id)
    config, digest = catalog.config(cell_id)
    probe = _probe(storage, config.probe_id(digest))
    entry = {
        "cell_id": cell_id,
        "probe_id": None if probe is None else probe.probe_id,
        "config": config.model_dump(mode="json"),
    }
    sizes = class_sizes(storage, digest)
    cell = CellReader(storage).read(entry, config.method.name, sizes)
    keys = deciding_keys(config, digest)
    return Why(
        cell=cell,
        state=_state(cell, probe),
        grids=known.grids,
        command=known.command,
        keys=keys,
        defaults=default_keys(config, digest),
        address=config.cell_id(digest),
        probe=probe,
        checkpoint=_checkpoint(storage, cell),
        failure=failure_json(cell, storage, known.grids[0] if known.grids else ""),
        nearest=_nearest(catalog, cell_id, keys),
    )


def why_json(why: Why) -> dict[str, Any]:
    """Return what `why CELL --json` prints."""
    cell, nearest = why.cell, why.nearest
    activity = cell.activity
    return {
        "schema_version": SCHEMA_VERSION,
        "cell_id": cell.cell_id,
        "state": why.state,
        "grids": why.grids,
        "accuracy": cell.accuracy(),
        "seconds": cell.seconds,
        "finished": cell.finished,
        "stage": None if activity is None else activity.stage,
        "epoch": None if activity is None else len(activity.rows),
        "epochs": None if activity is None else epochs_of(cell, activity.stage),
        "checkpoint": why.checkpoint,
        "holder": None if cell.holder is None else asdict(cell.holder),
        "failure": why.failure,
        "probe": None if why.probe is None else asdict(why.probe),
        "address": why.address,
        "identity": [
            {"key": key, "value": value, "default": key in why.defaults}
            for key, value in why.keys.items()
        ],
        "nearest": nearest
        and {
            "cell_id": nearest.cell_id,
            "differences": [
                {"key": key, "this": why.keys.get(key), "that": nearest.keys.get(key)}
                for key in nearest.differing
            ],
        },
    }


def checkpoint_epochs(path: Path) -> int | None:
    """Return how many epochs a checkpoint has; None if there is none that can be read.

    It is read without PyTorch, which takes two seconds: a state is a list of pairs there
    (training/checkpoint.py).
    """
    try:
        _, tree = load_arrays(path)
        return int(dict(tree["state"]["dict"])["epoch"])
    except (CorruptError, KeyError, TypeError, ValueError):
        return None


def _state(cell: Cell, probe: ProbeWhy | None) -> WhyState:
    if cell.state == "waiting" and probe is not None and probe.state == "stored":
        return "cached"
    return cell.state


def _probe(storage: Path, probe_id: str | None) -> ProbeWhy | None:
    if probe_id is None:
        return None
    store = CurveStore(storage)
    folder = store.folder(probe_id)
    holder = read_holder(folder)
    state: ProbeState = "missing"
    if store.has(probe_id):
        state = "stored"
    elif holder is not None and holder.alive:
        state = "running"
    elif (folder / MANIFEST).exists():
        state = "damaged"
    return ProbeWhy(probe_id, state, holder)


def _checkpoint(storage: Path, cell: Cell) -> int | None:
    if cell.activity is None:
        return None
    kind, name = CELLS, cell.cell_id
    if cell.activity.stage == "probe":
        kind, name = PROBES, cell.probe_id or ""
    return checkpoint_epochs(storage / kind / name / CHECKPOINT)


def _nearest(catalog: Catalog, cell_id: str, keys: Keys) -> Nearest | None:
    """Return the result that differs in the fewest keys.

    Of equals, one that an edit of a plugin alone tells apart; then the one with the lowest id.
    """
    found = []
    for other in catalog.done():
        if other == cell_id:
            continue
        try:
            those = deciding_keys(*catalog.config(other))
        except (ConfigError, CorruptError):  # of another version, or damaged: nothing to compare
            continue
        found.append(Nearest(other, those, differing_keys(keys, those)))
    ranked = sorted(found, key=lambda n: (len(n.differing), not of_source(n.differing), n.cell_id))
    return next((n for n in ranked if catalog.store.result(n.cell_id) is not None), None)
