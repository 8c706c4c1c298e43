"""Lines with bands, and marks with bars, over a common axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from curvetune.report.charts.axis import Scale, Tick, span

WIDTH, HEIGHT = 360.0, 232.0  # that a phone shows as they are
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 12.0, 40.0
MOST_POINTS = 600  # of a line; the least and the greatest of each part of a longer one stay
CATEGORY, LETTER = 26.0, 5.9  # width of a category at least, and of a letter of its name
LETTERS = 12  # of a category's name in a line

Point = tuple[float, float]
Span = tuple[float, float, float]  # x, and from where to where


@dataclass(frozen=True)
class Look:
    """How a series is drawn: it is told apart by more than its colour."""

    colour: str  # as CSS has it
    dashes: str = ""  # as `stroke-dasharray` has it
    marker: str = "circle"  # circle, square, diamond or triangle


@dataclass(frozen=True)
class Series:
    """One thing that a plot shows."""

    name: str
    look: Look
    line: Sequence[Point] = ()
    band: Sequence[Span] = ()
    marks: Sequence[Point] = ()
    bars: Sequence[Span] = ()


@dataclass(frozen=True)
class Plot:
    """Series over an axis of numbers, or of categories, the first at 0 and the next at 1."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    title: str = ""
    categories: Sequence[str] = ()
    log: bool = False  # of x
    zero: bool = False  # whether y begins at 0
    whole: bool = False  # whether x is a count, such as epochs
    at_least: float = 0.0  # how far apart the ends of y are


@dataclass(frozen=True)
class Mark:
    """A mark as the drawing has it, and what it says when pointed at."""

    x: float
    y: float
    look: Look
    text: str


@dataclass(frozen=True)
class Drawing:
    """A plot in the units of its picture."""

    plot: Plot
    width: float
    height: float
    box: tuple[float, float, float, float]  # left, top, right, bottom
    x_ticks: Sequence[tuple[float, Sequence[str]]]
    y_ticks: Sequence[Tick]
    areas: Sequence[tuple[str, str]] = ()  # path, colour
    lines: Sequence[tuple[str, Look, str]] = ()  # path, look, what it is
    bars: Sequence[tuple[float, float, float, str]] = ()  # x, from, to, colour
    marks: Sequence[Mark] = ()
    faults: Sequence[tuple[float, str]] = field(default=())  # x of what is not finite, and what
    kind: str = "plot"


def draw_plot(plot: Plot) -> Drawing:
    """Return where everything of a plot stands."""
    names = [wrapped(name) for name in plot.categories]
    longest = max((len(line) for lines in names for line in lines), default=0)
    each = max(CATEGORY, LETTER * longest + 8)
    width = max(WIDTH, LEFT + RIGHT + each * len(names))
    more = 12.0 * max((len(lines) - 1 for lines in names), default=0)
    box = (LEFT, TOP, width - RIGHT, HEIGHT - BOTTOM)
    x, y = _x_scale(plot, box), _y_scale(plot, box)
    ticks = (
        [(x.at(k), lines) for k, lines in enumerate(names)]
        if names
        else [(tick.at, (tick.text,)) for tick in x.ticks(whole=plot.whole)]
    )
    return Drawing(
        plot,
        width,
        HEIGHT + more,
        box,
        ticks,
        y.ticks(),
        areas=[(_area(s.band, x, y), s.look.colour) for s in plot.series if len(s.band) > 1],
        lines=[
            (_path(thinned(s.line), x, y), s.look, s.name) for s in plot.series if len(s.line) > 1
        ],
        bars=[
            (x.at(place), y.at(low), y.at(high), s.look.colour)
            for s in plot.series
            for place, low, high in s.bars
        ],
        marks=[mark for s in plot.series for mark in _marks(s, plot, x, y)],
        faults=[
            (x.at(place), f"{s.name}: {value} at {place:g}")
            for s in plot.series
            for place, value in s.line
            if not math.isfinite(value)
        ],
    )


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> Sequence[Point]:
    """Return a line of at most `most` points or so which looks the same: no spike is left out."""
    size = -(-2 * len(points) // most)
    if size <= 2:
        return points
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        ends = {min(part, key=_finite), max(part, key=_finite)}
        kept += [point for point in part if point in ends or not math.isfinite(point[1])]
    return kept


def wrapped(name: str, letters: int = LETTERS, lines: int = 3) -> list[str]:
    """Return a name in short lines; `, ` begins a new one."""
    import textwrap

    found = [line for part in name.split(", ") for line in textwrap.wrap(part, letters)]
    return found[:lines] if len(found) <= lines else [*found[: lines - 1], "…"]


def _finite(point: Point) -> float:
    return point[1] if math.isfinite(point[1]) else 0.0


def _x_scale(plot: Plot, box: tuple[float, float, float, float]) -> Scale:
    left, _, right, _ = box
    if plot.categories:
        return Scale(-0.5, len(plot.categories) - 0.5, left, right)
    values = [x for s in plot.series for x, *_ in (*s.line, *s.marks, *s.bars)] or [0.0, 1.0]
    low, high = min(values), max(values)
    if plot.log:
        return Scale(low / 1.25, high * 1.25, left, right, log=True)
    if any(s.line for s in plot.series) and high > low and not any(s.marks for s in plot.series):
        return Scale(low, high, left, right)
    return Scale(*span(values), left, right)


def _y_scale(plot: Plot, box: tuple[float, float, float, float]) -> Scale:
    _, top, _, bottom = box
    values = [y for s in plot.series for _, y in (*s.line, *s.marks)]
    values += [y for s in plot.series for _, *ends in (*s.band, *s.bars) for y in ends]
    low, high = span(values, at_least=plot.at_least)
    return Scale(0.0 if plot.zero else low, high, bottom, top)


def _path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """Return a line as SVG writes it; it is broken where a value is not finite."""
    found, pen = [], "M"
    for place, value in points:
        if not math.isfinite(value):
            pen = "M"
            continue
        found.append(f"{pen}{x.at(place):g} {y.at(value):g}")
        pen = "L"
    return "".join(found)


def _area(band: Sequence[Span], x: Scale, y: Scale) -> str:
    there = [f"{x.at(place):g} {y.at(high):g}" for place, _, high in band]
    back = [f"{x.at(place):g} {y.at(low):g}" for place, low, _ in reversed(band)]
    return f"M{'L'.join([*there, *back])}Z"


def _marks(series: Series, plot: Plot, x: Scale, y: Scale) -> list[Mark]:
    return [
        Mark(x.at(place), y.at(value), series.look, f"{series.name}: {value:.4g}")
        for place, value in series.marks
    ]
