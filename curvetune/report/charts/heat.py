"""A table of numbers whose shades tell them apart at a glance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CELL_WIDTH, CELL_HEIGHT = 52.0, 28.0
SMALLEST = 5.0  # height and width of a square of a very large one
LARGEST = 360.0  # width of all squares
LETTER = 5.6  # width of one of a label
DARKEST = 0.62  # so that a number can be read on it, light or dark


@dataclass(frozen=True)
class Heat:
    """Numbers, a row for each name of `rows`; None and NaN are not known."""

    title: str
    row_label: str
    column_label: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]  # what the shade is of
    texts: Sequence[Sequence[str]]  # what is written; empty strings where there is no room
    low: float
    high: float
    signed: bool = False  # above zero is better and blue, below it is worse and orange


@dataclass(frozen=True)
class Square:
    """One number in the units of the picture."""

    x: float
    y: float
    share: float  # of the darkest shade
    worse: bool
    text: str
    hint: str


@dataclass(frozen=True)
class HeatDrawing:
    """A heat map in the units of its picture."""

    heat: Heat
    width: float
    height: float
    left: float
    top: float
    bottom: float
    cell: tuple[float, float]
    squares: Sequence[Square]
    rows: Sequence[tuple[float, str]]  # y of the middle, name
    columns: Sequence[tuple[float, str]]  # x of the middle, name
    upright: bool  # whether the names of columns are
    kind: str = "heat"


def draw_heat(heat: Heat) -> HeatDrawing:
    """Return where everything of a heat map stands."""
    written = any(text for line in heat.texts for text in line)
    count = max(len(heat.columns), 1)
    width = min(CELL_WIDTH, max(LARGEST / count, 24.0 if written else SMALLEST))
    height = CELL_HEIGHT if written else width
    names = [_short(name) for name in heat.rows]
    heads = [_short(name) for name in heat.columns]
    left = 22.0 + LETTER * max(map(len, names), default=0)
    upright = max(map(len, heads), default=0) * LETTER > width
    below = 20.0 + (LETTER * max(map(len, heads), default=0) if upright else 14.0)
    every = max(1, round(14 / height)), max(1, round(14 / width))
    return HeatDrawing(
        heat,
        round(left + width * count + 6, 1),
        round(4 + height * len(names) + below, 1),
        left,
        4.0,
        round(4 + height * len(names), 1),
        (width, height),
        [
            _square(heat, r, c, left + c * width, 4.0 + r * height)
            for r in range(len(names))
            for c in range(len(heads))
        ],
        [(4.0 + (k + 0.5) * height, name) for k, name in enumerate(names) if k % every[0] == 0],
        [(left + (k + 0.5) * width, name) for k, name in enumerate(heads) if k % every[1] == 0],
        upright,
    )


def _square(heat: Heat, row: int, column: int, x: float, y: float) -> Square:
    value = heat.values[row][column]
    known = value is not None and math.isfinite(value)
    share = 0.0
    if value is not None and known:
        wide = max(abs(heat.low), abs(heat.high)) if heat.signed else heat.high - heat.low
        share = abs(value) / (wide or 1) if heat.signed else (value - heat.low) / (wide or 1)
    text = heat.texts[row][column]
    where = f"{heat.rows[row]}, {heat.columns[column]}"
    return Square(
        round(x, 1),
        round(y, 1),
        round(DARKEST * min(max(share, 0.0), 1.0), 3),
        bool(heat.signed and value is not None and value < 0),
        text,
        f"{where}: {text}",
    )


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
