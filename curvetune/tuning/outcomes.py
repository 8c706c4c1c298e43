"""How trials come out: what the storage has of their cells, and up to where a scheduler wants them.

All of it follows from results and histories. So the same command decides the same again.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from curvetune.config import CellConfig
from curvetune.errors import CorruptError
from curvetune.grids.cells import ACCURACY, Select
from curvetune.store import CellStore, CurveStore
from curvetune.tuning.contest import Tuned, Tuning
from curvetune.tuning.plans import diverged
from curvetune.tuning.rungs import goals, steps
from curvetune.tuning.trials import Options

WORST = 0.0  # percent; what a trial that diverged counts as


@dataclass(frozen=True)
class Trial:
    """A trial: its options, and its mean accuracy on the validation set over settings and seeds.

    Args:
        accuracy: in percent, at its end; None if it was stopped, or while a cell of it is not done.
        rungs: that it came to: epochs, and the accuracy there in percent.
        is_stopped: whether a scheduler went on with others.
    """

    options: Options
    accuracy: float | None
    has_diverged: bool
    rungs: Mapping[int, float] = field(default_factory=dict)
    is_stopped: bool = False


@dataclass(frozen=True)
class Outcomes:
    """The first trials of a method.

    Args:
        cells: of all of them.
        until: the epochs at which cells pause, of those that do.
        seconds: of devices that they took, with the probes that they read.
        is_whole: whether each cell is as far as it is to be, or has diverged.
    """

    trials: tuple[Trial, ...]
    cells: tuple[CellConfig, ...]
    until: Mapping[str, int]
    seconds: float
    is_whole: bool


class Records:
    """What a storage has of cells and probes; a result is read and checked once."""

    def __init__(self, storage: Path) -> None:
        self._cells, self._curves = CellStore(storage), CurveStore(storage)
        self._results: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._probes: dict[str, float] = {}

    def result(self, cell_id: str) -> dict[str, Any] | None:
        """Return the result of a cell; None if it has none."""
        if cell_id not in self._results and (found := self._cells.result(cell_id)) is not None:
            self._results[cell_id] = found
        return self._results.get(cell_id)

    def rows(self, cell_id: str, count: int | None = None) -> list[dict[str, Any]]:
        """Return the first rows of a cell's history, or all; none of a damaged one."""
        known = self._rows.get(cell_id, [])
        if count is None or len(known) < count:
            try:
                known = self._rows[cell_id] = self._cells.history(cell_id)
            except ValueError:
                known = []
        return known[:count]

    def diverged(self, cell_id: str) -> bool:
        """Say whether a cell has no result, since its last try diverged."""
        return self.result(cell_id) is None and diverged(self._cells, cell_id)

    def has_come(self, cell_id: str, until: int | None) -> bool:
        """Say whether a cell is done, has diverged, or has the epochs at which it pauses."""
        if self.result(cell_id) is not None or self.diverged(cell_id):
            return True
        return until is not None and len(self.rows(cell_id, until)) == until

    def accuracy(self, cell_id: str, epochs: int) -> float | None:
        """Return a cell's accuracy after so many epochs; NaN if it diverged before; None: later.

        A result that came without its history, from another machine, has that of its end.
        """
        if len(rows := self.rows(cell_id, epochs)) == epochs:
            return float(rows[-1]["accuracy"])
        if (result := self.result(cell_id)) is not None:
            return float(result["accuracy"])
        return math.nan if self.diverged(cell_id) else None

    def seconds(self, cell_id: str, epochs: int | None) -> float:
        """Return the seconds of a device that a cell's final training took, or its first epochs."""
        result = self.result(cell_id)
        if result is not None and epochs is None:
            return float(result["seconds"]["allocate"])
        return sum(float(row["seconds"]) for row in self.rows(cell_id, epochs))

    def probe_seconds(self, probe_id: str) -> float:
        """Return the seconds of a device that a probe took; 0 if it is not there."""
        if probe_id not in self._probes:
            try:
                self._probes[probe_id] = float(self._curves.manifest(probe_id)["seconds"])
            except CorruptError:
                return 0.0
        return self._probes[probe_id]


class Method:
    """A method whose trials are looked at again and again, as more of them come out."""

    def __init__(self, tuning: Tuning, tuned: Tuned, records: Records, select: Select) -> None:
        """Take a method; `select` says which accuracy of a result counts."""
        self.tuned = tuned
        self.rungs = rungs_of(tuning, tuned)
        self._tuning, self._records, self._select = tuning, records, select
        self._known: dict[str, tuple[CellConfig, ...]] = {}
        self._ids: dict[CellConfig, tuple[str, str | None]] = {}

    def outcomes(self, trials: Sequence[Options]) -> Outcomes:
        """Return how trials came out; those before them are all that decides it."""
        cells = [self._cells(options) for options in trials]
        accuracy = functools.partial(self._at, cells)
        aims = goals(len(trials), len(self.rungs), self._tuning.reduction, accuracy)
        until = self._until(cells, aims)
        every = {self._id(cell): cell for own in cells for cell in own}
        has_come = self._records.has_come
        return Outcomes(
            tuple(self._trial(options, k, cells, aims[k]) for k, options in enumerate(trials)),
            tuple(every.values()),
            until,
            self._seconds(every, until),
            all(has_come(cell_id, until.get(cell_id)) for cell_id in every),
        )

    def _trial(
        self, options: Options, k: int, cells: Sequence[Sequence[CellConfig]], aim: int
    ) -> Trial:
        ids = [self._id(cell) for cell in cells[k]]
        is_last = aim == len(self.rungs) - 1
        rungs = {
            max(self.rungs[rung]): value
            for rung in range(aim + (not is_last))
            if (value := self._at(cells, k, rung)) is not None and not math.isnan(value)
        }
        there = None if is_last else self._at(cells, k, aim)
        if any(map(self._records.diverged, ids)) if is_last else math.isnan(there or 0.0):
            return Trial(options, WORST, has_diverged=True, rungs=rungs)
        if not is_last:
            return Trial(options, None, has_diverged=False, rungs=rungs, is_stopped=True)
        results = [self._records.result(cell_id) for cell_id in ids]
        found = [float(one[ACCURACY[self._select]]) for one in results if one is not None]
        accuracy = fmean(found) if len(found) == len(ids) else None
        if accuracy is not None and len(self.rungs) > 1:
            rungs[max(self.rungs[-1])] = accuracy
        return Trial(options, accuracy, has_diverged=False, rungs=rungs)

    def _at(self, cells: Sequence[Sequence[CellConfig]], k: int, rung: int) -> float | None:
        """Return the mean accuracy of a trial's cells at a rung; NaN if one diverged before."""
        found = [
            self._records.accuracy(self._id(cell), epochs)
            for cell, epochs in zip(cells[k], self.rungs[rung], strict=True)
        ]
        known = [value for value in found if value is not None]
        return fmean(known) if len(known) == len(found) else None

    def _until(self, cells: Sequence[Sequence[CellConfig]], aims: Sequence[int]) -> dict[str, int]:
        """Return where cells pause; one of several trials goes as far as the farthest of them."""
        farthest: dict[str, int] = {}
        where: dict[str, int] = {}
        for own, aim in zip(cells, aims, strict=True):
            for place, cell in enumerate(own):
                farthest[self._id(cell)] = max(aim, farthest.get(self._id(cell), 0))
                where[self._id(cell)] = place
        last = len(self.rungs) - 1
        return {
            cell_id: self.rungs[aim][where[cell_id]]
            for cell_id, aim in farthest.items()
            if aim < last
        }

    def _seconds(self, cells: Mapping[str, CellConfig], until: Mapping[str, int]) -> float:
        records = self._records
        probes = {probe for cell in cells.values() if (probe := self._ids[cell][1]) is not None}
        return sum(records.seconds(cell_id, until.get(cell_id)) for cell_id in cells) + sum(
            map(records.probe_seconds, probes)
        )

    def _cells(self, options: Options) -> tuple[CellConfig, ...]:
        key = repr(options)
        if key not in self._known:
            self._known[key] = self._tuning.trial(self.tuned, options)
        return self._known[key]

    def _id(self, cell: CellConfig) -> str:
        if cell not in self._ids:
            digest = self._tuning.digest
            self._ids[cell] = cell.cell_id(digest), cell.probe_id(digest)
        return self._ids[cell][0]


def rungs_of(tuning: Tuning, tuned: Tuned) -> list[tuple[int, ...]]:
    """Return the rungs of a method, each with the epochs of every cell of a trial.

    Only the last one, which is the whole training, without a scheduler or with too few epochs.
    """
    epochs = tuple(cell.final_recipe.epochs for cell in tuned.cells)
    return [epochs] if tuning.scheduler == "none" else steps(epochs, tuning.reduction)
