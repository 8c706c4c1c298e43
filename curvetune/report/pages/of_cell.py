"""The charts of one cell: how it learned, what its samples weigh, what it takes for what."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from curvetune.errors import printable
from curvetune.grids.cells import Rows
from curvetune.report.charts.heat import Heat, HeatDrawing, draw_heat
from curvetune.report.charts.plot import Drawing, Look, Plot, Point, Series, draw_plot
from curvetune.report.figures.gather import CellFiles
from curvetune.report.pages.charts import Chart, charted
from curvetune.report.pages.looks import FINAL, NOBODY_KNOWS, PROBE, RIGHT, WRONG

MOST_NUMBERS = 12  # classes up to which a confusion matrix has its numbers written in
MOST_NAMES = 40  # classes that have a place on an axis each
SHIFT = 0.16  # of right and wrong labels, from the middle of a class
CAPTIONS = {
    "learning": "Training loss and test accuracy",
    "weights": "Final weights of right and wrong labels by given class: median and quartiles",
    "confusion": "What the classifier takes the test images for",
}
UNKNOWN = "Final weights by given class: median and quartiles"


def charts_of_cell(
    files: CellFiles, baseline: CellFiles | None, names: Sequence[str]
) -> Iterator[Chart]:
    """Yield the charts of a cell that there is something for.

    Args:
        baseline: the cell of cross entropy in the same place, shown beside it.
        names: of the classes.
    """
    made = {
        "learning": lambda: learning_chart(*files.rows()),
        "weights": lambda: weights_chart(files, names),
        "confusion": lambda: confusion_chart(files, baseline, names),
    }
    for name, make in made.items():
        if (found := charted(CAPTIONS[name], make)) is not None:
            yield found


def learning_chart(probe: Rows, final: Rows) -> Chart:
    """Return loss and test accuracy over the epochs of both stages (a stage may have no rows)."""
    stages = [("probe", probe, PROBE), ("final", final, FINAL)]
    panels = []
    for key, label in (("loss", "training loss"), ("accuracy", "test accuracy, %")):
        series = [
            Series(name, look, line=points)
            for name, rows, look in stages
            if (points := points_of(rows, key))
        ]
        if series:
            panels.append(draw_plot(Plot("epoch", label, series, whole=True)))
    legend = [(name, look) for name, rows, look in stages if rows]
    return Chart(CAPTIONS["learning"], panels, legend)


def weights_chart(files: CellFiles, names: Sequence[str]) -> Chart:
    """Return the final weights of right and wrong labels of every given class."""
    weights, split, judged = files.weights(), files.split, files.labels_are_judged
    parts: list[tuple[str, NDArray[np.bool_], Look]] = [
        ("given label", np.ones(len(split.y), np.bool_), RIGHT)
    ]
    if judged:
        parts = [
            ("right label", split.known & ~split.wrong, RIGHT),
            ("wrong label", split.wrong, WRONG),
        ]
        parts += [] if split.known.all() else [("nobody knows", ~split.known, NOBODY_KNOWS)]
    classes = int(split.y.max()) + 1
    series = [
        _quartiles(name, look, weights[which], split.y[which], SHIFT * (k - (len(parts) - 1) / 2))
        for k, (name, which, look) in enumerate(parts)
        if which.any()
    ]
    shown = [class_name(k, names) for k in range(classes)] if classes <= MOST_NAMES else []
    plot = Plot("given class", "final weight", series, categories=shown, zero=True)
    legend = [(one.name, one.look) for one in series]
    return Chart(CAPTIONS["weights"] if judged else UNKNOWN, [draw_plot(plot)], legend)


def confusion_chart(files: CellFiles, baseline: CellFiles | None, names: Sequence[str]) -> Chart:
    """Return the confusion matrix of a cell, and that of cross entropy in the same place."""
    shown = [files] if baseline is None else [baseline, files]
    known = files.truth_is_known
    panels: list[HeatDrawing | Drawing] = [
        draw_heat(_confusion(one.cell.label, one.confusion(), names, known=known)) for one in shown
    ]
    return Chart(f"{CAPTIONS['confusion']}; shades are shares of a row", panels)


def points_of(rows: Rows, key: str) -> list[Point]:
    """Return a value over epochs."""
    return [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]


def class_name(k: int, names: Sequence[str]) -> str:
    """Return the name of a class, or its number where names are not known."""
    return printable(names[k], 40) if k < len(names) else str(k)


def _confusion(label: str, matrix: NDArray[np.int64], names: Sequence[str], *, known: bool) -> Heat:
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    classes = [class_name(k, names) for k in range(len(matrix))]
    written = len(matrix) <= MOST_NUMBERS
    return Heat(
        f"{label}: {100 * np.trace(matrix) / max(int(matrix.sum()), 1):.2f} %",
        "true class" if known else "given class",
        "predicted class",
        classes,
        classes,
        [[float(share) for share in row] for row in shares],
        [[str(n) if n and written else "" for n in row] for row in matrix],
        0.0,
        1.0,
    )


def _quartiles(
    name: str, look: Look, weights: NDArray[np.float64], y: NDArray[np.int64], shift: float
) -> Series:
    marks, bars = [], []
    for k in np.unique(y):
        low, middle, high = np.quantile(weights[y == k], (0.25, 0.5, 0.75))
        marks.append((float(k) + shift, float(middle)))
        bars.append((float(k) + shift, float(low), float(high)))
    return Series(name, look, marks=marks, bars=bars)
