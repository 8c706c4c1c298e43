"""How a method looks in every chart of a page: one colour, one marker, one kind of line."""

from collections.abc import Sequence

from curvetune.grids.cells import Grid
from curvetune.report.charts.plot import Look

COLOURS = (
    ("#0072b2", "#5db3f0"),
    ("#d55e00", "#ff8f4a"),
    ("#009e73", "#35cfa2"),
    ("#b3588b", "#e59ac6"),
    ("#a87400", "#f0b429"),
    ("#2b8cc4", "#9ad8ff"),
    ("#000000", "#ffffff"),
)
DASHES = ("", "6 3", "7 2 2 2", "2 3", "9 2 2 2 2 2", "1 4", "11 3")
MARKERS = ("circle", "square", "diamond", "triangle")


def themed(light: str, dark: str) -> str:
    """Return a colour that follows the system, as CSS has it."""
    return f"light-dark({light}, {dark})"


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Return how each of some methods looks, in their order."""
    return {
        label: Look(
            themed(*COLOURS[k % len(COLOURS)]),
            DASHES[k % len(DASHES)],
            MARKERS[k % len(MARKERS)],
        )
        for k, label in enumerate(labels)
    }


def looks_of(grid: Grid) -> dict[str, Look]:
    """Return how each method of a grid looks."""
    return looks(list(grid.methods()))


FINAL, PROBE = looks(("final", "probe")).values()
RIGHT = Look(themed(*COLOURS[0]), "", "circle")  # labels
WRONG = Look(themed(*COLOURS[1]), "6 3", "square")
NOBODY_KNOWS = Look(themed("#777777", "#aaaaaa"), "2 3", "triangle")
