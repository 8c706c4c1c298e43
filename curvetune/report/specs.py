"""The runs that a tracker shows of a grid: what each is found by, and what it says of itself."""

from collections.abc import Sequence

from curvetune.report.cells import Cell, Grid
from curvetune.report.labels import setting_parts
from curvetune.report.points import cell_params
from curvetune.tracking.base import CELL_TAG, GRID_TAG, METHOD_TAG, Run, RunSpec

SOURCE = {"mlflow.source.name": "curvetune", "mlflow.source.type": "LOCAL"}
SCHEMA_VERSION = "1"


def grid_spec(grid: Grid) -> RunSpec:
    """Return the run of a grid."""
    return RunSpec(
        experiment=grid.name,
        key=(GRID_TAG, grid.name),
        name=grid.name,
        parent=None,
        tags={
            **SOURCE,
            "curvetune.command": grid.command,
            "curvetune.data_digest": grid.digest,
            "curvetune.schema_version": SCHEMA_VERSION,
        },
        began=_began(grid.cells),
    )


def method_spec(grid: Grid, label: str, cells: Sequence[Cell], parent: Run) -> RunSpec:
    """Return the run of a method, under that of the grid."""
    return RunSpec(
        experiment=grid.name,
        key=(METHOD_TAG, label),
        name=label,
        parent=parent.run_id,
        tags=SOURCE,
        began=_began(cells),
    )


def cell_spec(grid: Grid, cell: Cell, parent: Run) -> RunSpec:
    """Return the run of a cell, under that of its method."""
    where = setting_parts(cell.setting, grid.settings)
    return RunSpec(
        experiment=grid.name,
        key=(CELL_TAG, cell.cell_id),
        name=", ".join([cell.label, *where, f"seed {cell.seed}"]),
        parent=parent.run_id,
        tags={
            **SOURCE,
            "curvetune.label": cell.label,
            "curvetune.probe_id": cell.probe_id or "",
            "curvetune.data_digest": grid.digest,
        },
        params=cell_params(cell.config),
        began=_began([cell]),
    )


def _began(cells: Sequence[Cell]) -> float:
    """Return when the first of `cells` began, in Unix seconds; 0 if none has."""
    times = [
        (cell.finished or 0.0) - (cell.seconds or 0.0)
        if cell.activity is None
        else cell.activity.began
        for cell in cells
        if cell.result is not None or cell.activity is not None
    ]
    return min(times, default=0.0)
