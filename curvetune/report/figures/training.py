"""Figures of a cell's training: accuracy, loss and weights over epochs, and confusion matrices."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvetune.report.figures.style import (
    GREEN,
    calm_limits,
    class_ticks,
    fit,
    line_style,
    new_axes,
    new_grid,
    styled,
    text_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
LEAST_GAP = 0.1  # of weights around 1, that an axis shows at least
MOST_NUMBERS = 12  # classes up to which a confusion matrix has its numbers written in


@styled
def learning_curves(probe: Rows, final: Rows, title: str = "") -> "Figure":
    """Return loss and test accuracy over the epochs of both stages (a stage may have no rows)."""
    figure, (left, right) = new_grid(1, 2, 7.5, 2.8)
    for k, (name, rows) in enumerate((("probe", probe), ("allocate", final))):
        if not rows:
            continue
        for axes, key in ((left, "loss"), (right, "accuracy")):
            points = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, **line_style(k))
    left.set_ylabel("training loss")
    right.set_ylabel("test accuracy, %")
    calm_limits(right)
    for axes in (left, right):
        _epoch_axis(axes)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(fit(title, 90), fontsize=9)
    return figure


@styled
def weight_over_time(rows: Rows, title: str = "") -> "Figure | None":
    """Return by how much right labels outweigh wrong ones at each epoch; None if nobody knows."""
    points = [
        (row["epoch"], row["weight_gap"]) for row in rows if row.get("weight_gap") is not None
    ]
    if not points:
        return None
    figure, axes = new_axes(5.0, 2.8)
    axes.plot(*zip(*points, strict=True), color=GREEN)
    axes.axhline(0, color=text_colour(), linewidth=0.8)
    calm_limits(axes, LEAST_GAP, within=(-1e9, 1e9))
    _epoch_axis(axes)
    axes.set_ylabel("mean weight, right − wrong labels")
    axes.set_title(fit(title, 60), fontsize=9)
    return figure


def _epoch_axis(axes: "Axes") -> None:
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)


@styled
def confusion(
    matrices: Mapping[str, NDArray[np.int64]],
    *,
    known: bool = True,
    title: str = "",
    names: Sequence[str] = (),
) -> "Figure":
    """Return Figure 6: confusion matrices, (K, K) with a row for each true class, side by side.

    Shades are the share of the true class.

    Args:
        known: whether the labels of the test images are known to be right; else they are given.
        names: of the classes; their numbers if empty.
    """
    figure, plots = new_grid(1, len(matrices), 3.8 * len(matrices) + 0.7, 3.9)
    image: Any = None
    for axes, (name, matrix) in zip(plots, matrices.items(), strict=True):
        shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(
            f"{fit(name, 30)}: {100 * np.trace(matrix) / max(matrix.sum(), 1):.2f} %", fontsize=9
        )
        axes.set_xlabel("predicted class")
        if len(matrix) <= MOST_NUMBERS:
            _numbers(axes, matrix, shares, names)
    which = "true" if known else "given"
    plots[0].set_ylabel(f"{which} class")
    bar = figure.colorbar(image, ax=list(plots), shrink=0.8, aspect=30)
    bar.set_label(f"share of the {which} class", fontsize=8)
    figure.suptitle(fit(title, 90), fontsize=9)
    return figure


def _numbers(
    axes: "Axes",
    matrix: NDArray[np.int64],
    shares: NDArray[np.float64],
    names: Sequence[str],
) -> None:
    ticks = class_ticks(len(matrix), names)
    axes.set_xticks(range(len(matrix)), **ticks)
    axes.set_yticks(range(len(matrix)), ticks["labels"], fontsize=ticks.get("fontsize"))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=6)
