"""Which figures there are, and how each is drawn from a storage.

A figure that cannot be drawn says why and costs nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import ValidationError

from curvetune.analysis.aggregate import MethodRow, method_rows
from curvetune.errors import ConfigError, CurvetuneError, nearest, printable
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.labels import axis_words, in_common, setting_parts
from curvetune.report.figures import grids, overlay, samples, training
from curvetune.report.figures.gather import CellFiles, GridImages, MissingError
from curvetune.report.figures.style import file_of, stamped
from curvetune.report.figures.sweeps import sweeps
from curvetune.report.published.beside import anchors
from curvetune.report.published.numbers import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "cross-entropy"
MOST_SETTINGS = 12  # that can be read beside each other
# What the files of a storage, or the drawing of what is in them, can raise.
FAULTS = (CurvetuneError, ValidationError, ValueError, LookupError, TypeError, ArithmeticError)


@dataclass(frozen=True)
class Drawn:
    """One figure, or why there is none."""

    name: str
    cell_id: str | None  # None for one of the whole grid
    figure: "Figure | None"
    problem: str = ""
    is_missing: bool = False  # there is nothing to draw; else something is damaged


def heat(grid: Grid, select: Select) -> "Figure":
    """Return the accuracy over imbalance × noise rate for each method."""
    heats = {row.label: _heat(row) for row in method_rows(grid, select)}
    unit, words = "test accuracy, %; brighter is better", axis_words(grid.settings)
    return grids.heat_maps(heats, unit, title=_title(grid), words=words)


def heat_difference(grid: Grid, select: Select) -> "Figure":
    """Return the same less cross entropy's accuracy."""
    rows = {row.label: row for row in method_rows(grid, select)}
    if BASELINE not in rows or len(rows) < 2:
        raise MissingError(f"the grid has no {BASELINE} beside another method")
    base = _heat(rows.pop(BASELINE))
    differences = {
        label: {
            place: None if value is None or (other := base.get(place)) is None else value - other
            for place, value in _heat(row).items()
        }
        for label, row in rows.items()
    }
    unit = f"points over {BASELINE}: blue is better, red is worse"
    words = axis_words(grid.settings)
    return grids.heat_maps(differences, unit, signed=True, title=_title(grid), words=words)


def accuracy_and_cost(grid: Grid, select: Select) -> "Figure":
    """Return MA against the seconds of a cell, of methods of which every setting is done."""
    cells, points = grid.methods(), {}
    devices = {str((c.result or {}).get("device")) for c in grid.cells if c.result is not None}
    probes = _probe_seconds(grid)
    for row in method_rows(grid, select):
        done = [cell for cell in cells[row.label] if cell.result is not None]
        if row.ma.mean is not None and done:
            seconds = fmean(_seconds(cell, probes) for cell in done)
            points[row.label] = (row.ma.mean, row.ma.std, seconds)
    if not points:
        raise MissingError("no method has a cell done in every setting")
    return grids.accuracy_against_cost(points, ", ".join(sorted(devices)), _title(grid))


def by_setting(grid: Grid, select: Select) -> "Figure":
    """Return the accuracy of each method in each bias setting that has a seed done."""
    found = {
        row.label: {
            ", ".join(setting_parts(column.setting, grid.settings)): (mean, column.accuracy.std)
            for column in row.settings
            if (mean := column.accuracy.mean) is not None
        }
        for row in method_rows(grid, select)
    }
    found = {label: values for label, values in found.items() if values}
    if not found:
        raise MissingError("no cell is done")
    if len(grid.settings) > MOST_SETTINGS:
        raise MissingError(f"{len(grid.settings)} settings; `heat` shows more than {MOST_SETTINGS}")
    published = [
        (one.label, ", ".join(setting_parts(one.setting, grid.settings)), one.value, one.is_same)
        for one in anchors(grid, library())
    ]
    return grids.accuracy_by_setting(found, _title(grid), published)


def ablation(grid: Grid, select: Select) -> "Figure":
    """Return MA over each option that tells the rows of a method apart, a plot for each."""
    rows = [row for row in method_rows(grid, select) if row.ma.mean is not None]
    found = sweeps(rows)
    if not found:
        raise MissingError("no option tells the rows of one method apart, or they are not done")
    swept = {label for sweep in found for label in sweep.labels}
    others = {r.label: r.ma.mean for r in rows if r.label not in swept and r.ma.mean is not None}
    return grids.accuracy_over_options(found, others, _title(grid))


def learning_of_methods(storage: Path, grid: Grid) -> "Figure":
    """Return the test accuracy of all methods over epochs, a plot for each setting."""
    if len(grid.settings) > MOST_SETTINGS:
        raise MissingError(f"{len(grid.settings)} settings are more than {MOST_SETTINGS}")
    found = {}
    for setting in grid.settings:
        if of_setting := overlay.histories(storage, grid, setting):
            found[", ".join(setting_parts(setting, grid.settings))] = of_setting
    if not found:
        raise MissingError("no cell is done")
    numbers = [len(seeds) for methods in found.values() for seeds in methods.values()]
    return overlay.learning_of_methods(found, f"{_title(grid)}; {overlay.bands_said(numbers)}")


def _title(grid: Grid) -> str:
    """Return which grid it is, and what all its settings have in common."""
    return f"{grid.name} ({in_common(grid.settings)})"


def confusion(files: CellFiles, baseline: CellFiles | None) -> "Figure":
    """Return the confusion matrix of a cell, beside that of cross entropy in the same place."""
    matrices = {} if baseline is None else {baseline.cell.label: baseline.confusion()}
    matrices = {**matrices, files.cell.label: files.confusion()}
    return training.confusion(
        matrices, known=files.truth_is_known, title=files.place, names=files.class_names
    )


def _weight_over_time(files: CellFiles) -> "Figure":
    if not files.labels_are_judged:
        raise MissingError("its noise is the data's own, so nobody knows which labels are wrong")
    figure = training.weight_over_time(files.rows()[1], files.title)
    if figure is None:
        raise MissingError(f"{files.cell.label} tells no weights apart: none, or no wrong labels")
    return figure


OfGrid = Callable[[Grid, Select], "Figure"]
OfCell = Callable[[CellFiles], "Figure"]
OF_GRID: dict[str, OfGrid] = {
    "settings": by_setting,
    "heat": heat,
    "heat-difference": heat_difference,
    "accuracy-cost": accuracy_and_cost,
    "ablation": ablation,
}
OF_CELL: dict[str, OfCell] = {
    "learning": lambda files: training.learning_curves(*files.rows(), files.title),
    "loss-curves": lambda files: samples.loss_curves(
        files.curves(),
        files.split,
        files.title,
        known=files.labels_are_judged,
        names=files.class_names,
    ),
    "class-counts": lambda files: samples.class_counts(
        files.split, files.title, known=files.labels_are_judged, names=files.class_names
    ),
    "weights": lambda files: samples.weights_by_class(
        files.weights(),
        files.split,
        files.title,
        known=files.labels_are_judged,
        names=files.class_names,
    ),
    "weight-time": _weight_over_time,
}
LEARNING = "learning-methods"
CONFUSION = "confusion"
FIGURES = (*OF_GRID, LEARNING, *OF_CELL, CONFUSION)


def check_names(names: Sequence[str]) -> None:
    """Refuse a figure that there is not.

    Raises:
        ConfigError: there is none of that name.
    """
    for name in names:
        if name not in FIGURES:
            raise ConfigError(
                f"figure {name!r}: allowed are {', '.join(FIGURES)}{nearest(name, FIGURES)}"
            )


def draw_all(
    storage: Path,
    grid: Grid,
    *,
    cells: Sequence[Cell] | None = None,
    only: Sequence[str] = (),
    select: Select = "last",
    data_dir: Path | None = None,
) -> Iterator[Drawn]:
    """Draw the figures of a grid, then of its cells, one after the other.

    Args:
        cells: whose figures are wanted; of the first seed of each setting unless given.
        only: names of figures; all of them unless given.
        data_dir: where the images are, for confusion matrices.

    Raises:
        ConfigError: there is no figure of such a name.
    """
    check_names(only)
    images = GridImages(grid, data_dir)
    for name, of_grid in OF_GRID.items():
        if not only or name in only:
            yield _drawn(name, None, partial(of_grid, grid, select), grid.stamp)
    if not only or LEARNING in only:
        yield _drawn(LEARNING, None, partial(learning_of_methods, storage, grid), grid.stamp)
    for cell in first_seeds(grid) if cells is None else cells:
        if cell.result is None:
            continue
        yield from draw_cell(CellFiles(storage, grid, cell, images), only, baseline_of(grid, cell))


def draw_cell(
    files: CellFiles, only: Sequence[str] = (), baseline: Cell | None = None
) -> Iterator[Drawn]:
    """Draw the figures of one cell; `baseline` stands beside it in the confusion matrix."""
    cell_id = files.cell.cell_id
    for name, draw in OF_CELL.items():
        if not only or name in only:
            yield _drawn(name, cell_id, partial(draw, files), files.stamp)
    if not only or CONFUSION in only:
        other = None if baseline is None else files.beside(baseline)
        yield _drawn(CONFUSION, cell_id, partial(confusion, files, other), files.stamp)


def files_of_grid(grid: Grid, select: Select = "last", form: str = "svg") -> dict[str, bytes]:
    """Return the figures of a whole grid that can be drawn, as files by name."""
    drawn = [
        _drawn(name, None, partial(draw, grid, select), grid.stamp)
        for name, draw in OF_GRID.items()
    ]
    return {f"{one.name}.{form}": file_of(one.figure, form) for one in drawn if one.figure}


def files_of_method(grid: Grid, label: str, select: Select = "last") -> dict[str, bytes]:
    """Return the heat map of one method as a file by name."""
    rows = {row.label: _heat(row) for row in method_rows(grid, select) if row.label == label}
    draw = partial(
        grids.heat_maps,
        rows,
        "test accuracy, %",
        title=_title(grid),
        words=axis_words(grid.settings),
    )
    drawn = _drawn("heat", None, draw, grid.stamp)
    return {} if drawn.figure is None else {"heat.svg": file_of(drawn.figure, "svg")}


def first_seeds(grid: Grid) -> list[Cell]:
    """Return the cells of the first seed of each method and setting."""
    first: dict[tuple[object, ...], Cell] = {}
    for cell in grid.cells:
        first.setdefault((cell.label, cell.setting), cell)
    return list(first.values())


def _drawn(name: str, cell_id: str | None, draw: Callable[[], "Figure"], stamp: str) -> Drawn:
    """Draw a figure, with the stamp of its grid's profile, or say why it cannot be drawn."""
    try:
        return Drawn(name, cell_id, stamped(draw(), stamp))
    except MissingError as error:
        return Drawn(name, cell_id, None, str(error), is_missing=True)
    except FAULTS as error:
        return Drawn(name, cell_id, None, f"{type(error).__name__}: {printable(error, 300)}")


def baseline_of(grid: Grid, cell: Cell) -> Cell | None:
    """Return the cell of cross entropy in the same place, if that is another one and done."""
    for other in grid.cells:
        same = (other.setting, other.seed) == (cell.setting, cell.seed)
        if same and other.label == BASELINE != cell.label and other.result is not None:
            return other
    return None


def _heat(row: MethodRow) -> dict[tuple[float, float], float | None]:
    """Return the accuracy by imbalance and noise rate; the mean where kinds of noise share one."""
    groups: dict[tuple[float, float], list[float | None]] = {}
    for column in row.settings:
        place = column.setting.imbalance, column.setting.noise_rate
        groups.setdefault(place, []).append(column.accuracy.mean)
    return {
        place: None if any(v is None for v in values) else fmean(v or 0.0 for v in values)
        for place, values in groups.items()
    }


def _probe_seconds(grid: Grid) -> dict[str, float]:
    """Return what each probe took, which is told by the one cell that ran it."""
    found: dict[str, float] = {}
    for cell in grid.cells:
        seconds = float((cell.result or {}).get("seconds", {}).get("probe", 0.0))
        if cell.probe_id is not None and seconds > 0:
            found[cell.probe_id] = seconds
    return found


def _seconds(cell: Cell, probes: dict[str, float]) -> float:
    """Return what a cell would take alone, its probe included."""
    own = float((cell.result or {}).get("seconds", {}).get("allocate", 0.0))
    return own + probes.get(cell.probe_id or "", 0.0)
