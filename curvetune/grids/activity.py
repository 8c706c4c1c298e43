"""How far each cell of a grid has come, and how long the rest will take.

Estimates are simple and meant for people: an epoch to come takes as long as the last ones did, a
cell that has not begun as long as the others of its method, and as many cells run at once as now.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from pydantic import ValidationError

from curvetune.config import CellConfig, read_config
from curvetune.grids.cells import Activity, Cell, Grid, Rows

_SECTIONS = {*CellConfig.model_fields}
RECENT = 5  # epochs that the next ones are expected to be like


@dataclass(frozen=True)
class Progress:
    """One cell: its state in words, and numbers where there are any."""

    cell: Cell
    words: str
    epoch: int = 0  # of the stage that it is in: how many are done, and of how many
    epochs: int = 0
    accuracy: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class GridProgress:
    """All cells of a grid."""

    grid: Grid
    cells: tuple[Progress, ...]
    seconds_left: float | None

    def of(self, *states: str) -> list[Progress]:
        """Return the cells in one of `states`."""
        return [progress for progress in self.cells if progress.cell.state in states]


def grid_progress(
    grid: Grid, now: float | None = None, until: Mapping[str, int] | None = None
) -> GridProgress:
    """Return how far the cells of `grid` are at `now` (Unix seconds).

    Args:
        until: the epochs at which cells are to pause, of those that do, while a search runs.
    """
    now = time.time() if now is None else now
    costs = _Costs(grid.cells, until or {})
    leaders = _leaders(grid)
    cells = tuple(_progress(cell, grid, leaders, costs, now) for cell in grid.cells)
    return GridProgress(grid, cells, _grid_seconds_left(cells, grid, costs))


def epochs_of(cell: Cell, stage: str) -> int:
    """Return how many epochs a stage of a cell has, as its method has it."""
    try:
        config = read_config({k: cell.config[k] for k in _SECTIONS & {*cell.config}})
    except ValidationError:  # of another version of curvetune
        recipe = None
    else:
        recipe = config.probe_recipe if stage == "probe" else config.final_recipe
    return int(cell.config[stage]["epochs"]) if recipe is None else recipe.epochs


def _progress(
    cell: Cell, grid: Grid, leaders: Mapping[str, str], costs: "_Costs", now: float
) -> Progress:
    if cell.state == "done":
        return Progress(cell, "done", accuracy=cell.accuracy())
    if cell.state == "failed":
        return Progress(cell, "failed")
    activity = cell.activity
    if activity is None:
        is_led = cell.probe_id is not None and cell.probe_id not in grid.stored_probes
        waits = is_led and leaders.get(cell.probe_id or "") != cell.cell_id
        return Progress(cell, "waiting for its probe" if waits else "waiting")
    epochs = epochs_of(cell, activity.stage)
    epoch = min(len(activity.rows), epochs)
    words = f"{activity.stage} {epoch}/{epochs}"
    if cell.state in ("stale", "paused", "waiting"):
        return Progress(cell, f"{cell.state} at {words}", epoch, epochs)
    accuracy = activity.rows[-1].get("accuracy") if activity.rows else None
    left = _seconds_left(cell, activity, costs, now)
    return Progress(cell, words, epoch, epochs, accuracy, left)


def _leaders(grid: Grid) -> dict[str, str]:
    """Return for each probe that is not stored the cell that runs it, or is to."""
    leaders: dict[str, Cell] = {}
    for cell in grid.cells:
        if cell.probe_id is None or cell.probe_id in grid.stored_probes:
            continue
        if cell.state in ("running", "stale", "waiting"):
            leader = leaders.setdefault(cell.probe_id, cell)
            if cell.state == "running" and leader.state != "running":
                leaders[cell.probe_id] = cell
    return {probe_id: cell.cell_id for probe_id, cell in leaders.items()}


def _seconds_left(cell: Cell, activity: Activity, costs: "_Costs", now: float) -> float | None:
    """Return how long a running cell has still to go."""
    rows = activity.rows
    epochs = costs.goal(cell, activity.stage) - len(rows)
    if not rows:
        is_probe = activity.stage == "probe"
        known = costs.of(cell, "probe") if is_probe else costs.final(cell)
        left = None if known is None else known - max(0.0, now - activity.began)
    else:
        each = _epoch_seconds(rows)
        # By the storage's clock: that of the host that trains may be wrong, and ours may be.
        left = each * epochs - min(max(0.0, now - activity.news), each)
    then = costs.final(cell) if activity.stage == "probe" else 0.0
    return None if left is None or then is None else max(0.0, left) + then


def _grid_seconds_left(cells: Sequence[Progress], grid: Grid, costs: "_Costs") -> float | None:
    """Return how long the grid has still to go; None if nobody can tell, or nothing runs."""
    running = [p.seconds_left for p in cells if p.cell.state == "running"]
    left_over = ("stale", "paused", "waiting") if costs.until else ("stale", "waiting")
    waiting = [p.cell for p in cells if p.cell.state in left_over]
    if not running:
        return None
    led = {p.cell.probe_id for p in cells if p.cell.state == "running"} | grid.stored_probes
    probes = {cell.probe_id: cell for cell in waiting if cell.probe_id not in {None, *led}}
    left = [
        *running,
        *(costs.final(cell) for cell in waiting),
        *(costs.of(cell, "probe") for cell in probes.values()),
    ]
    known = [seconds for seconds in left if seconds is not None]
    if len(known) < len(left):
        return None
    return max(sum(known) / len(running), *(s for s in running if s is not None))


class _Costs:
    """What a stage took where it was run, to expect the same where it was not."""

    def __init__(self, cells: Iterable[Cell], until: Mapping[str, int]) -> None:
        self.until = until
        self._seen: dict[tuple[str, str], list[float]] = {}
        for cell in cells:
            for stage, seconds in _spent(cell):
                for label in (cell.label, ""):
                    self._seen.setdefault((stage, label), []).append(seconds)

    def of(self, cell: Cell, stage: str) -> float | None:
        """Return what to expect: of the same method if that has been seen, else of any."""
        key = (stage, cell.label if stage == "allocate" else "")
        seen = self._seen.get(key) or self._seen.get((stage, ""))
        return median(seen) if seen else None

    def goal(self, cell: Cell, stage: str) -> int:
        """Return how many epochs of a stage a cell is to have for now."""
        epochs = epochs_of(cell, stage)
        return min(epochs, self.until.get(cell.cell_id, epochs)) if stage == "allocate" else epochs

    def final(self, cell: Cell) -> float | None:
        """Return what to expect of the final training of a cell that does not run now."""
        known = self.of(cell, "allocate")
        if known is None or not self.until:
            return known
        had = len(cell.activity.rows) if cell.activity and cell.state == "paused" else 0
        return known * max(0, self.goal(cell, "allocate") - had) / epochs_of(cell, "allocate")


def _spent(cell: Cell) -> list[tuple[str, float]]:
    """Return the seconds of each stage that a cell ran, or would need at its present pace."""
    if cell.result is not None:
        seconds: Mapping[str, Any] = cell.result.get("seconds", {})
        return [(stage, float(value)) for stage, value in seconds.items() if value]
    if cell.activity is not None and cell.activity.rows:
        stage = cell.activity.stage
        return [(stage, _epoch_seconds(cell.activity.rows) * epochs_of(cell, stage))]
    return []


def _epoch_seconds(rows: Rows) -> float:
    return fmean(float(row["seconds"]) for row in rows[-RECENT:])
