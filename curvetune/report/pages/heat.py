"""The heat maps of a grid: accuracy over imbalance and noise, of each method and over another."""

from collections.abc import Mapping
from statistics import fmean

from curvetune.analysis.aggregate import MethodRow, method_rows
from curvetune.grids.cells import Grid, Select
from curvetune.grids.labels import setting_words
from curvetune.report.charts.heat import Heat, HeatDrawing, draw_heat
from curvetune.report.figures.gather import MissingError
from curvetune.report.pages.charts import Chart
from curvetune.report.tables.main import by_ma
from curvetune.report.tables.paired import REFERENCE

HEAT = "Accuracy of each method over imbalance and noise rate, %, mean over seeds"
DIFFERENCE = "The same, in points over cross entropy: blue is better, orange is worse"

Places = dict[tuple[str, str], float | None]


def heat_chart(grid: Grid, select: Select) -> Chart:
    """Return a heat map over imbalance × noise rate for each method."""
    rows = {row.label: _heat(row) for row in by_ma(method_rows(grid, select))}
    return Chart(HEAT, _heats(grid, rows, signed_=False))


def heat_difference_chart(grid: Grid, select: Select) -> Chart:
    """Return the same less cross entropy's accuracy."""
    rows = {row.label: _heat(row) for row in by_ma(method_rows(grid, select))}
    if REFERENCE not in rows or len(rows) < 2:
        raise MissingError(f"the grid has no {REFERENCE} beside another method")
    base = rows.pop(REFERENCE)
    less = {
        label: {place: _less(value, base.get(place)) for place, value in heat.items()}
        for label, heat in rows.items()
    }
    return Chart(DIFFERENCE, _heats(grid, less, signed_=True))


def _heat(row: MethodRow) -> Places:
    """Return the accuracy by imbalance and noise; the mean where kinds of noise share a rate."""
    groups: dict[tuple[str, str], list[float | None]] = {}
    for column in row.settings:
        words = setting_words(column.setting, [column.setting])
        place = words["imbalance"], words["noise"]
        groups.setdefault(place, []).append(column.accuracy.mean)
    return {
        place: None if any(v is None for v in values) else fmean(v or 0.0 for v in values)
        for place, values in groups.items()
    }


def _heats(grid: Grid, methods: Mapping[str, Places], *, signed_: bool) -> list[HeatDrawing]:
    """Return a map for each method, all with the same shades; none of a single place."""
    words = [setting_words(setting, [setting]) for setting in grid.settings]
    imbalances = list(dict.fromkeys(word["imbalance"] for word in words))
    rates = list(dict.fromkeys(word["noise"] for word in words))
    known = [v for heat in methods.values() for v in heat.values() if v is not None]
    if len(imbalances) * len(rates) < 2 or not known:
        raise MissingError("there is one setting")
    form = "{:+.1f}" if signed_ else "{:.1f}"
    return [
        draw_heat(
            Heat(
                label,
                "imbalance",
                "noise",
                imbalances,
                rates,
                [[heat.get((i, r)) for r in rates] for i in imbalances],
                [[_text(heat.get((i, r)), form) for r in rates] for i in imbalances],
                min(known),
                max(known),
                signed_,
            )
        )
        for label, heat in methods.items()
    ]


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
