"""MLflow's words for how far cells are."""

from collections.abc import Sequence

from curvetune.grids.cells import Cell


def status_of(cell: Cell, *, running: bool) -> tuple[str, float | None]:
    """Return MLflow's word for a cell, and when it ended."""
    if cell.state == "done":
        return "FINISHED", cell.finished
    if cell.state == "failed":
        return "FAILED", None
    if cell.state == "running" and running:
        return "RUNNING", None
    return "KILLED", cell.activity.news if cell.activity is not None else None


def status_of_many(cells: Sequence[Cell], *, running: bool) -> tuple[str, float | None]:
    """Return MLflow's word for a method or a grid, and when it ended."""
    states = {cell.state for cell in cells}
    if states == {"done"} or (states <= {"done", "paused"} and not running):
        return "FINISHED", max(status_of(cell, running=False)[1] or 0.0 for cell in cells)
    if running:
        return "RUNNING", None
    return ("FAILED" if "failed" in states else "KILLED"), None
