"""What the cells that a plan has left will cost: device-hours, wall time and disk.

Nothing here imports PyTorch. Where an epoch was never measured (evidence.py), a price says so and
leaves it out; it never makes a number up.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curvetune.config import CellConfig
from curvetune.planning.order import Order
from curvetune.planning.plan import Plan, PlannedCell, PlannedProbe
from curvetune.planning.price.disk import Disk
from curvetune.planning.price.estimates import Past
from curvetune.planning.price.evidence import (
    BASES,
    PROBE,
    Estimate,
    Evidence,
    Phase,
    phase_of_final,
    phases_of_probe,
)

SizeOf = Callable[[CellConfig], int]

UNKNOWN = Estimate(None)


@dataclass(frozen=True)
class Machine:
    """What trials run on.

    Args:
        device: its kind, as results name it.
        slots: cells at once; None if nobody knows.
        cpus: of each cell.
        gpus: of each cell, where it has whole ones.
        workers: cells that share a GPU.
        data_cpus: kept free of cells, for images.
    """

    device: str
    slots: int | None
    cpus: float = 1.0
    gpus: int = 1
    workers: int = 1
    data_cpus: int = 0

    @property
    def is_gpu(self) -> bool:
        """Whether hours are those of GPUs; else of CPUs."""
        return not self.device.startswith("cpu")


@dataclass(frozen=True)
class PricedKind:
    """Runs of one method, or probes: how many are to be run, and what each takes of a device."""

    name: str
    runs: int
    unknown: int  # of them
    least: float | None  # seconds of a run
    most: float | None
    seconds: float  # of all that are known
    basis: str | None
    measured: int

    def to_json(self) -> dict[str, Any]:
        """Return it for `plan --json`."""
        return {
            "kind": self.name,
            "runs": self.runs,
            "unknown_runs": self.unknown,
            "seconds_each": None if self.least is None else [self.least, self.most],
            "device_seconds": self.seconds,
            "from": self.basis,
            "measured": self.measured,
        }


@dataclass(frozen=True)
class Sharing:
    """How many cells read how many probes, and what that saves; None where nobody knows."""

    cells: int
    probes: int
    seconds: float | None

    @property
    def saved(self) -> int:
        """Probes that need not be run."""
        return self.cells - self.probes


@dataclass(frozen=True)
class Price:
    """What a plan costs on a machine; seconds are those of a device."""

    machine: Machine
    cells: Mapping[str, Estimate]  # final trainings to be run, by cell
    probes: Mapping[str, Estimate]  # to be run
    kinds: tuple[PricedKind, ...]
    sharing: Sharing
    wall: float | None  # seconds; None if a run or the number of slots is not known
    disk: Disk | None
    devices: Mapping[str, int] = field(default_factory=dict)  # that something was measured on
    past: Past | None = None

    @property
    def unknown(self) -> int:
        """Runs that nobody knows the time of."""
        return sum(kind.unknown for kind in self.kinds)

    @property
    def seconds(self) -> float:
        """Device seconds of all runs that are known."""
        return sum(kind.seconds for kind in self.kinds)

    def hours(self, seconds: float) -> float:
        """Return device seconds as GPU-hours; as CPU-hours where a cell has CPUs alone."""
        return seconds / 3600 * (self.machine.gpus if self.machine.is_gpu else self.machine.cpus)

    def to_json(self) -> dict[str, Any]:
        """Return it for `plan --json`; None is what nobody knows."""
        saved = self.sharing.seconds
        return {
            "device": self.machine.device,
            "unit": "GPU-hours" if self.machine.is_gpu else "CPU-hours",
            "hours": None if self.unknown else self.hours(self.seconds),
            "hours_known": self.hours(self.seconds),
            "unknown_runs": self.unknown,
            "wall_s": self.wall,
            "slots": self.machine.slots,
            "workers_per_gpu": self.machine.workers if self.machine.is_gpu else None,
            "kinds": [kind.to_json() for kind in self.kinds],
            "probe_sharing": {
                "cells": self.sharing.cells,
                "probes": self.sharing.probes,
                "probe_runs_saved": self.sharing.saved,
                "hours_saved": None if saved is None else self.hours(saved),
            },
            "disk": None if self.disk is None else self.disk.to_json(),
            "measured_on": dict(self.devices),
            "estimates_so_far": None if self.past is None else self.past.to_json(),
        }


def price(
    plan: Plan,
    machine: Machine,
    evidence: Evidence,
    size_of: SizeOf | None,
    *,
    disk: Disk | None = None,
    past: Past | None = None,
) -> Price:
    """Return what the cells that `plan` has left cost on `machine`.

    Args:
        size_of: the samples that a cell trains on; None if nobody knows, as before a download.
    """

    def expect(phases: list[Phase]) -> Estimate:
        return evidence.of_run(phases, machine.device, machine.workers)

    def of_probe(probe: PlannedProbe) -> Estimate:
        return UNKNOWN if size_of is None else expect(probe_phases(probe.cells[0], size_of))

    cells = {
        cell.cell_id: UNKNOWN if size_of is None else expect(final_phases(cell, size_of))
        for cell in plan.left
    }
    probes = {probe.probe_id: of_probe(probe) for probe in plan.probes if probe.state == "to run"}
    return Price(
        machine=machine,
        cells=cells,
        probes=probes,
        kinds=tuple(_kinds(plan, cells, probes)),
        sharing=_sharing(plan, of_probe) if plan.left else Sharing(0, 0, None),
        wall=_wall(plan, cells, probes, machine),
        disk=disk,
        devices=evidence.devices(),
        past=past,
    )


def final_phases(cell: PlannedCell, size_of: SizeOf) -> list[Phase]:
    """Return the phases of a cell's final training."""
    return phase_of_final(cell.config, size_of(cell.config))


def probe_phases(cell: PlannedCell, size_of: SizeOf) -> list[Phase]:
    """Return the phases of a cell's probe; none if it has no probe."""
    config, recipe = cell.config, cell.config.probe_recipe
    if recipe is None:
        return []
    data, model = config.data.model_dump(), config.model.model_dump()
    return phases_of_probe(data, model, recipe.model_dump(), size_of(config))


def _kinds(
    plan: Plan, cells: Mapping[str, Estimate], probes: Mapping[str, Estimate]
) -> list[PricedKind]:
    groups: dict[str, list[Estimate]] = {PROBE: list(probes.values())} if probes else {}
    for cell in plan.left:
        groups.setdefault(cell.config.method.name, []).append(cells[cell.cell_id])
    return [_kind(name, estimates) for name, estimates in groups.items()]


def _kind(name: str, estimates: list[Estimate]) -> PricedKind:
    seconds = [estimate.seconds for estimate in estimates if estimate.seconds is not None]
    bases = [estimate.basis for estimate in estimates if estimate.basis is not None]
    return PricedKind(
        name=name,
        runs=len(estimates),
        unknown=len(estimates) - len(seconds),
        least=min(seconds, default=None),
        most=max(seconds, default=None),
        seconds=sum(seconds),
        basis=max(bases, key=BASES.index, default=None),
        measured=min((e.measured for e in estimates if e.measured), default=0),
    )


def _sharing(plan: Plan, of_probe: Callable[[PlannedProbe], Estimate]) -> Sharing:
    """Return what it saves, in the whole grid, that cells share probes."""
    total: float | None = 0.0
    for probe in plan.probes:
        more = len(probe.cells) - 1
        seconds = of_probe(probe).seconds if more else 0.0
        total = None if total is None or seconds is None else total + more * seconds
    return Sharing(sum(len(probe.cells) for probe in plan.probes), len(plan.probes), total)


def _wall(
    plan: Plan,
    cells: Mapping[str, Estimate],
    probes: Mapping[str, Estimate],
    machine: Machine,
) -> float | None:
    """Return how long it takes in the order of the real thing, Ray's start-up apart."""
    known = {key: e.seconds for key, e in (*cells.items(), *probes.items())}
    seconds = {key: value * machine.workers for key, value in known.items() if value is not None}
    if machine.slots is None or len(seconds) < len(known):
        return None
    return simulate(plan, seconds, machine.slots)


def simulate(plan: Plan, seconds: Mapping[str, float], slots: int) -> float:
    """Return when the last cell ends that `plan` has left, with `slots` cells at once.

    Args:
        seconds: of each probe and of each final training that is to be run, by its address.
    """
    order = Order({cell.cell_id: cell.probe_id for cell in plan.left}, plan.stored)
    probe_of = {cell.cell_id: cell.probe_id for cell in plan.left}
    ready = set(plan.stored)
    now, running = 0.0, 0
    events: list[tuple[float, str, str]] = []  # when, what has come about, of which cell
    while True:
        while running < slots and (cell := order.next()) is not None:
            running += 1
            probe = probe_of[cell]
            if probe is not None and probe not in ready:
                heapq.heappush(events, (now + seconds[probe], "stored", cell))
            else:
                heapq.heappush(events, (now + seconds[cell], "done", cell))
        if not events:
            return now
        now, what, cell = heapq.heappop(events)
        if what == "stored":
            probe = probe_of[cell] or ""
            ready.add(probe)
            order.probe_ready(probe)
            heapq.heappush(events, (now + seconds[cell], "done", cell))
        else:
            running -= 1
            order.settled(cell, failed=False)
