"""What a command would run: every cell of a space, what is done, and which probes they share."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from curvetune.config import CellConfig
from curvetune.config.addresses import Addresses
from curvetune.config.load import stored_config
from curvetune.config.plugins import check_loaded
from curvetune.errors import ConfigError
from curvetune.planning.space import Space
from curvetune.system.collecting import not_collected

if TYPE_CHECKING:
    from curvetune.data.source import ClassSizes
    from curvetune.data.stream.report import Report
    from curvetune.store import CellStore

SCHEMA_VERSION = 1
THREADS = 8  # that check results; 1.9 to 2.2 times faster than one (docs/measurements.md)
BATCH = 25  # cells that a thread asks about at once


@dataclass(frozen=True)
class PlannedCell:
    """One cell with its addresses; `probe_id` is None if its method reads no curves."""

    cell_id: str
    probe_id: str | None
    config: CellConfig
    done: bool


@dataclass(frozen=True)
class PlannedProbe:
    """One probe and the cells that read it.

    `not needed` means that all of its cells are done, so nobody looked whether it is stored.
    """

    probe_id: str
    cells: tuple[PlannedCell, ...]
    state: Literal["stored", "to run", "not needed"]


@dataclass(frozen=True)
class Plan:
    """The cells of a grid, each once, in the order of its space.

    `is_part` says that they are some cells of a grid which is recorded, and stays as it is.
    `until` has the epochs at which cells wait for now; one that came to them is done.
    """

    name: str
    digest: str
    cells: tuple[PlannedCell, ...]
    probes: tuple[PlannedProbe, ...]
    is_part: bool = False
    until: Mapping[str, int] = field(default_factory=dict)
    images: "Report | None" = None  # of a folder
    sizes: "ClassSizes | None" = None  # of the data; None if nobody asked, since nothing is left
    data_dir: str | None = None  # where the space says that its images are
    on_bad: str | None = None
    made: Mapping[str, Any] = field(default_factory=dict)  # what else it was made of (again.py)

    @property
    def left(self) -> tuple[PlannedCell, ...]:
        """The cells that are still to be run."""
        return tuple(cell for cell in self.cells if not cell.done)

    @property
    def stored(self) -> frozenset[str]:
        """The probes whose curves are there for a cell that is still to be run."""
        return frozenset(probe.probe_id for probe in self.probes if probe.state == "stored")

    def has_come(self, cell_id: str, store: "CellStore") -> bool:
        """Say whether a cell has its result now, or as many epochs as it is to have for now."""
        if store.result(cell_id) is not None:
            return True
        until = self.until.get(cell_id)
        return until is not None and store.has_epochs(cell_id, until)

    def counts(self) -> dict[str, int]:
        """Return how many cells and probes there are in each state.

        Cells to run whose probe is stored are cached: their curves are there.
        """
        stored = self.stored
        states = [probe.state for probe in self.probes]
        return {
            "cells_total": len(self.cells),
            "cells_done": len(self.cells) - len(self.left),
            "cells_to_run": len(self.left),
            "cells_cached": sum(cell.probe_id in stored for cell in self.left),
            "probes_total": len(self.probes),
            "probes_stored": states.count("stored"),
            "probes_to_run": states.count("to run"),
        }

    @not_collected()
    def to_json(self) -> dict[str, Any]:
        """Return the plan for `plan --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "grid": self.name,
            "data_digest": self.digest,
            **({"images": self.images.to_json()} if self.images is not None else {}),
            **self.counts(),
            "cells": [{**cell_json(cell), "done": cell.done} for cell in self.cells],
            "probes": [
                {
                    "probe_id": probe.probe_id,
                    "state": probe.state,
                    "cells": [cell.cell_id for cell in probe.cells],
                }
                for probe in self.probes
            ],
        }


def cell_json(cell: PlannedCell) -> dict[str, Any]:
    """Return a cell's addresses and config, as `grids/<name>.json` keeps them."""
    return {
        "cell_id": cell.cell_id,
        "probe_id": cell.probe_id,
        "config": cell.config.model_dump(mode="json"),
    }


def recorded_cell(entry: Mapping[str, Any], digest: str, name: str, command: str) -> CellConfig:
    """Return the config of a cell of a grid's file.

    Raises:
        ConfigError: this version of curvetune would run another cell than the recorded one.
    """
    cell_id = entry["cell_id"]
    where = f"grids/{name}.json: cell {cell_id}"
    config = stored_config(entry["config"], where)
    for kind, used, ref in config.plugins:
        check_loaded(ref, kind, used)
    if (address := config.cell_id(digest)) != cell_id:
        raise ConfigError(
            f"{where}: this version of curvetune gives its config the address {address}, so the "
            f"grid was recorded by another version; run it anew: {command}"
        )
    return config


def build_plan(
    space: Space,
    digest: str,
    *,
    is_done: Callable[[str], bool],
    has_probe: Callable[[str], bool],
) -> Plan:
    """Return what running `space` on the data with this content `digest` comes to.

    Args:
        is_done: says of a cell's address whether its result is in the storage; asked by several
            threads, since the answer reads and hashes files.
        has_probe: says of a probe's address whether its curves are; asked once for each probe,
            and only where a cell that is still to be run reads it, since the answer reads a file.
    """
    addresses = Addresses(digest)
    configs: dict[str, CellConfig] = {}
    for config in space.cells:
        configs.setdefault(addresses.cell_id(config), config)
    done = _asked(is_done, [*configs])
    cells = {
        cell_id: PlannedCell(cell_id, addresses.probe_id(config), config, done[cell_id])
        for cell_id, config in configs.items()
    }
    groups: dict[str, list[PlannedCell]] = {}
    for cell in cells.values():
        if cell.probe_id is not None:
            groups.setdefault(cell.probe_id, []).append(cell)
    probes = tuple(_probe(probe_id, group, has_probe) for probe_id, group in groups.items())
    return Plan(
        space.name,
        digest,
        tuple(cells.values()),
        probes,
        data_dir=space.data_dir,
        on_bad=space.on_bad,
    )


def _asked(is_done: Callable[[str], bool], cell_ids: Sequence[str]) -> dict[str, bool]:
    """Return which cells are done; threads ask of several each, since a task costs as well."""
    size = max(1, min(BATCH, len(cell_ids) // THREADS))
    batches = [cell_ids[start : start + size] for start in range(0, len(cell_ids), size)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda batch: [*map(is_done, batch)], batches)
        return dict(zip(cell_ids, itertools.chain.from_iterable(found), strict=True))


def _probe(
    probe_id: str, cells: Sequence[PlannedCell], has_probe: Callable[[str], bool]
) -> PlannedProbe:
    if all(cell.done for cell in cells):
        return PlannedProbe(probe_id, tuple(cells), "not needed")
    return PlannedProbe(probe_id, tuple(cells), "stored" if has_probe(probe_id) else "to run")
