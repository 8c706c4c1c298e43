"""The learning curves of methods over each other, with a band over seeds.

`histories` reads them from a storage, `draw_learning` puts those of one setting onto axes, and
`learning_of_methods` makes a figure of several settings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from curvetune.errors import CorruptError, printable
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import Setting
from curvetune.report.figures.style import (
    LEGEND_LINE,
    calm_limits,
    fit,
    looks_of,
    new_grid,
    shared_legend,
    styled,
)
from curvetune.store import CellStore
from curvetune.store.history import read_rows
from curvetune.store.names import HISTORY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
Histories = Mapping[str, Sequence[Rows]]  # of each method's label: a history per seed
COLUMNS = 3  # settings beside each other
FEWEST_OF_BAND = 2  # seeds that have a spread
MARKS = 8  # marks along a line


def histories(storage: Path, grid: Grid, setting: Setting) -> dict[str, list[Rows]]:
    """Return the histories of the final training of the done cells of a setting, by method.

    Raises:
        CorruptError: one is damaged.
    """
    found: dict[str, list[Rows]] = {}
    for cell in grid.cells:
        if cell.setting == setting and cell.result is not None:
            found.setdefault(cell.label, []).append(_history(storage, cell))
    return {label: rows for label, rows in found.items() if any(rows)}


def band(rows_of_seeds: Sequence[Rows], key: str) -> list[tuple[int, float, float | None]]:
    """Return (epoch, mean, sd) of `key` over the epochs that all seeds have; no sd of one seed."""
    of_seeds = [
        {int(row["epoch"]): float(row[key]) for row in rows if row.get(key) is not None}
        for rows in rows_of_seeds
    ]
    common = set.intersection(*(set(values) for values in of_seeds)) if of_seeds else set()
    points = []
    for epoch in sorted(common):
        values = [seed[epoch] for seed in of_seeds]
        spread = stdev(values) if len(values) >= FEWEST_OF_BAND else None
        points.append((epoch, fmean(values), spread))
    return points


def draw_learning(
    axes: "Axes",
    methods: Histories,
    *,
    key: str = "accuracy",
    labels: Sequence[str] | None = None,
) -> None:
    """Draw onto `axes` the mean of `key` over seeds at each epoch, with a band of ± one sd.

    Args:
        methods: of each method's label, the history of each seed.
        key: of a history's row: "accuracy" (on the test images, in percent) or "loss".
        labels: all labels of the grid, which decide the colours; those of `methods` if None.
    """
    looks = looks_of(list(methods) if labels is None else labels)
    for label, seeds in methods.items():
        points = band(seeds, key)
        if not points:
            continue
        epochs, means, _ = zip(*points, strict=True)
        look = looks[label]
        axes.plot(
            epochs,
            means,
            label=fit(label, 40),
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markevery=max(1, len(epochs) // MARKS),
            markersize=3,
            linewidth=1.4,
        )
        low = [mean - (sd or 0.0) for _, mean, sd in points]
        high = [mean + (sd or 0.0) for _, mean, sd in points]
        axes.fill_between(epochs, low, high, color=look.colour, alpha=0.18, linewidth=0)
    axes.set_xlabel("epoch of the allocate stage")
    axes.locator_params(axis="x", integer=True)
    if key == "accuracy":
        calm_limits(axes)
        axes.set_ylabel("test accuracy, %")
    else:
        axes.set_ylabel("training loss")


@styled
def learning_of_methods(settings: Mapping[str, Histories], title: str = "") -> "Figure":
    """Return the test accuracy of all methods over epochs, a plot for each setting.

    Args:
        settings: by their names.
    """
    labels = list(dict.fromkeys(label for of in settings.values() for label in of))
    columns = 2 if len(settings) == 4 else min(COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    width, height = max(5.0, 3.0 * columns), 2.6 * rows + 0.4
    figure, plots = new_grid(
        rows, columns, width + 1.8, max(height, 0.6 + LEGEND_LINE * len(labels)), sharey=True
    )
    for axes, (name, methods) in zip(plots, settings.items(), strict=False):
        draw_learning(axes, methods, labels=labels)
        axes.set_title(fit(name, 36), fontsize=9)
    for k, axes in enumerate(plots):
        axes.set_visible(k < len(settings))
        if k % columns:
            axes.set_ylabel("")
        if k + columns < len(settings):  # there is one below that says it
            axes.set_xlabel("")
    shared_legend(figure, plots[: len(settings)])
    figure.suptitle(fit(title, 100), fontsize=9)
    return figure


def bands_said(numbers: Sequence[int]) -> str:
    """Return in words what the lines and bands are, given the seeds of each line."""
    low, high = min(numbers), max(numbers)
    if high < FEWEST_OF_BAND:
        return "one seed, so there is no band"
    return f"mean ± sd over {low if low == high else f'{low} to {high}'} seeds"


def _history(storage: Path, cell: Cell) -> Rows:
    try:
        return read_rows(CellStore(storage).folder(cell.cell_id) / HISTORY)
    except (ValueError, OSError) as error:
        raise CorruptError(f"{cell.cell_id}/{HISTORY}: {printable(error)}") from None
