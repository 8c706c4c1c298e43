"""How a method looks in every chart of a page: one colour, one marker, one kind of line."""

from collections.abc import Sequence

from curvetune.grids.cells import Grid
from curvetune.report.charts.plot import Look
from curvetune.report.colours import colours_of

DASHES = ("", "6 3", "7 2 2 2", "2 3", "9 2 2 2 2 2", "1 4", "11 3")
MARKERS = ("circle", "square", "diamond", "triangle")


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Return how each of some methods looks, in their order."""
    colours = colours_of(labels)
    return {
        label: Look(colours[label], DASHES[k % len(DASHES)], MARKERS[k % len(MARKERS)])
        for k, label in enumerate(labels)
    }


def looks_of(grid: Grid) -> dict[str, Look]:
    """Return how each method of a grid looks."""
    return looks(list(grid.methods()))


# What the pages themselves compare, in the colours that follow the system (style.css).
FINAL = Look("var(--blue)")
PROBE = Look("var(--orange)", "6 3", "square")
RIGHT, WRONG = FINAL, PROBE  # labels
NOBODY_KNOWS = Look("var(--grey)", "2 3", "triangle")
