"""Values with their intervals below each other: who is ahead, and by how much it is sure."""

from collections.abc import Sequence
from dataclasses import dataclass

from curvetune.report.charts.axis import Scale, Tick, span
from curvetune.report.charts.plot import Look

WIDTH, ROW, AXIS = 360.0, 36.0, 34.0
SIDE = 10.0


@dataclass(frozen=True)
class ForestRow:
    """One value; its name stands above it, so that no name is too long."""

    name: str
    value: float | None
    ends: tuple[float, float] | None
    text: str
    look: Look


@dataclass(frozen=True)
class Forest:
    """Rows over one axis."""

    x_label: str
    rows: Sequence[ForestRow]
    zero: bool = False  # whether a line stands at 0


@dataclass(frozen=True)
class ForestDrawing:
    """A forest in the units of its picture."""

    forest: Forest
    width: float
    height: float
    rows: Sequence[tuple[float, ForestRow, float | None, tuple[float, float] | None]]
    ticks: Sequence[Tick]
    zero: float | None
    kind: str = "forest"


def draw_forest(forest: Forest) -> ForestDrawing:
    """Return where everything of a forest stands."""
    values = [row.value for row in forest.rows if row.value is not None]
    values += [end for row in forest.rows if row.ends is not None for end in row.ends]
    low, high = span([*values, *([0.0] if forest.zero else [])], at_least=0.5)
    x = Scale(low, high, SIDE, WIDTH - SIDE)
    rows = [
        (
            ROW * k,
            row,
            None if row.value is None else x.at(row.value),
            None if row.ends is None else (x.at(row.ends[0]), x.at(row.ends[1])),
        )
        for k, row in enumerate(forest.rows)
    ]
    zero = x.at(0.0) if forest.zero else None
    return ForestDrawing(forest, WIDTH, ROW * len(rows) + AXIS, rows, x.ticks(), zero)
