"""The charts of a whole grid: who is ahead, how they learned, where they differ, what they cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from curvetune.analysis.aggregate import MethodRow, method_rows, scores
from curvetune.analysis.significance import Paired, against
from curvetune.grids.cells import Grid, Select
from curvetune.grids.labels import setting_parts
from curvetune.report.charts.forest import Forest, ForestRow, draw_forest
from curvetune.report.charts.plot import Look, Plot, Point, Series, draw_plot
from curvetune.report.figures.gather import MissingError
from curvetune.report.numbers import between, p_value, signed, spread
from curvetune.report.pages.charts import LEAST_POINTS, Chart, charted
from curvetune.report.pages.cost import ABLATION, COST, ablation_chart, cost_chart
from curvetune.report.pages.heat import DIFFERENCE, HEAT, heat_chart, heat_difference_chart
from curvetune.report.pages.looks import looks_of
from curvetune.report.tables.main import by_ma
from curvetune.report.tables.paired import find_method
from curvetune.report.verdict import DIVIDED
from curvetune.store import CellStore
from curvetune.store.history import read_rows
from curvetune.store.names import HISTORY

MOST_SETTINGS = 24  # whose learning curves are shown
SPREAD = 0.7  # of the width of a setting, which its methods share
CAPTIONS = {
    "ma": "MA of each method, %",
    "difference": "Difference of accuracy, in points, paired over settings and seeds",
    "learning": "Test accuracy while the final classifier is trained, %",
    "settings": "Accuracy of each method in each setting, %",
    "heat": HEAT,
    "heat-difference": DIFFERENCE,
    "cost": COST,
    "ablation": ABLATION,
}


def top_charts(grid: Grid, select: Select) -> list[Chart]:
    """Return what stands at the top: MA, and the differences from the reference."""
    made: list[tuple[str, Callable[[], Chart]]] = [
        ("ma", partial(ma_chart, grid, select)),
        ("difference", partial(difference_chart, grid, select)),
    ]
    return [found for name, make in made if (found := charted(CAPTIONS[name], make)) is not None]


def charts_of_grid(storage: Path, grid: Grid, select: Select) -> Iterator[Chart]:
    """Yield the other charts that there is something for."""
    made: list[tuple[str, Callable[[], Chart]]] = [
        ("learning", partial(learning_chart, storage, grid)),
        ("settings", partial(settings_chart, grid, select)),
        ("cost", partial(cost_chart, grid, select)),
        ("ablation", partial(ablation_chart, grid, select)),
        ("heat", partial(heat_chart, grid, select)),
        ("heat-difference", partial(heat_difference_chart, grid, select)),
    ]
    for name, make in made:
        if (found := charted(CAPTIONS[name], make)) is not None:
            yield found


def ma_chart(grid: Grid, select: Select) -> Chart:
    """Return the MA of each method with its interval, or its spread where there is none."""
    rows = by_ma(method_rows(grid, select))
    if all(row.ma.mean is None for row in rows):
        raise MissingError("no method has a cell done in every setting")
    look = looks_of(grid)
    with_interval = any(row.ma.interval is not None for row in rows)
    found = [
        ForestRow(
            row.label,
            row.ma.mean,
            row.ma.interval if with_interval else _within_sd(row),
            spread(row.ma),
            look[row.label],
        )
        for row in rows
    ]
    bars = "the 95 % interval over seeds" if with_interval else "one sd over seeds to each side"
    return Chart(f"{CAPTIONS['ma']}; the line is {bars}", [draw_forest(Forest("MA, %", found))])


def difference_chart(grid: Grid, select: Select) -> Chart:
    """Return how far each method is from the reference, with intervals."""
    methods = {label: scores(cells, select) for label, cells in grid.methods().items()}
    if len(methods) < 2:
        raise MissingError("there is one method")
    reference = find_method(grid, None)
    pairs = len({(cell.setting, cell.seed) for cell in grid.cells})
    compared = [one for one in against(reference, methods, pairs) if one.difference is not None]
    if not compared:
        raise MissingError("no pairs")
    compared.sort(key=lambda one: -(one.difference or 0.0))
    look = looks_of(grid)
    rows = [
        ForestRow(one.b, one.difference, one.interval, _difference(one), look[one.b])
        for one in compared
    ]
    forest = Forest(f"points over {reference}", rows, zero=True)
    return Chart(
        f"{CAPTIONS['difference']}; the line is the 95 % interval, p is corrected after Holm",
        [draw_forest(forest)],
    )


def learning_chart(storage: Path, grid: Grid) -> Chart:
    """Return the test accuracy of all methods over each other, a panel for each setting."""
    look, histories = looks_of(grid), _histories(storage, grid)
    if not any(histories.values()):
        raise MissingError("no cell has a history")
    shown = grid.settings[:MOST_SETTINGS]
    seeds = max(
        (len(found) for by_label in histories.values() for found in by_label.values()), default=1
    )
    panels = [
        draw_plot(
            Plot(
                "epoch",
                "test accuracy, %",
                [_averaged(label, look[label], found) for label, found in by_label.items()],
                title=", ".join(setting_parts(setting, grid.settings)),
                whole=True,
                at_least=LEAST_POINTS,
            )
        )
        for setting in shown
        if (by_label := histories.get(setting))
    ]
    caption = CAPTIONS["learning"]
    caption += "; mean over seeds, and a band of one sd" if seeds > 1 else "; one seed"
    if len(grid.settings) > len(shown):
        caption += f"; the first {len(shown)} of {len(grid.settings)} settings"
    return Chart(caption, panels, list(look.items()))


def settings_chart(grid: Grid, select: Select) -> Chart:
    """Return each method's accuracy in each setting, with its spread over seeds."""
    rows, look = by_ma(method_rows(grid, select)), looks_of(grid)
    names = [", ".join(setting_parts(setting, grid.settings)) for setting in grid.settings]
    if len(names) > MOST_SETTINGS:
        raise MissingError(f"{len(names)} settings; the heat maps show them")
    if all(column.accuracy.mean is None for row in rows for column in row.settings):
        raise MissingError("no cell is done")
    step = SPREAD / len(rows)
    series = [
        _by_setting(row, look[row.label], step * (k - (len(rows) - 1) / 2))
        for k, row in enumerate(rows)
    ]
    plot = Plot("", "test accuracy, %", series, categories=names, at_least=LEAST_POINTS)
    caption = f"{CAPTIONS['settings']}; mean and sd over seeds"
    return Chart(caption, [draw_plot(plot)], list(look.items()))


def _within_sd(row: MethodRow) -> tuple[float, float] | None:
    if row.ma.mean is None or row.ma.std is None:
        return None
    return row.ma.mean - row.ma.std, row.ma.mean + row.ma.std


def _difference(one: Paired) -> str:
    found = signed(one.difference)
    if one.interval is not None:
        found += f" ({between(one.interval, '+')})"
    if one.is_divided:
        return f"{found}, {DIVIDED}"
    return found if one.p_holm is None else f"{found}, p {p_value(one.p_holm)}"


def _histories(storage: Path, grid: Grid) -> dict[object, dict[str, list[dict[float, float]]]]:
    """Return the accuracies by epoch of every seed, by setting and method."""
    store, found = CellStore(storage), dict[object, dict[str, list[dict[float, float]]]]()
    for cell in grid.cells:
        try:
            rows = read_rows(store.folder(cell.cell_id) / HISTORY)
        except (ValueError, OSError):  # the section of the cell tells
            continue
        points = {row["epoch"]: row["accuracy"] for row in rows if row.get("accuracy") is not None}
        if points:
            found.setdefault(cell.setting, {}).setdefault(cell.label, []).append(points)
    return found


def _averaged(label: str, look: Look, seeds: Sequence[Mapping[float, float]]) -> Series:
    """Return the mean over seeds of each epoch that all of them have, with its spread."""
    epochs = sorted(set.intersection(*(set(points) for points in seeds)))
    line: list[Point] = [(epoch, fmean(points[epoch] for points in seeds)) for epoch in epochs]
    if len(seeds) < 2:
        return Series(label, look, line=line)
    sds = [stdev(points[epoch] for points in seeds) for epoch in epochs]
    band = [(x, mean - sd, mean + sd) for (x, mean), sd in zip(line, sds, strict=True)]
    return Series(label, look, line=line, band=band)


def _by_setting(row: MethodRow, look: Look, shift: float) -> Series:
    marks, bars = [], []
    for k, column in enumerate(row.settings):
        mean, std = column.accuracy.mean, column.accuracy.std
        if mean is not None:
            marks.append((k + shift, mean))
            bars += [] if std is None else [(k + shift, mean - std, mean + std)]
    return Series(row.label, look, marks=marks, bars=bars)
