"""What accuracy costs: MA against time, and over the options that are varied."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from curvetune.analysis.aggregate import method_rows
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.report.charts.plot import Look, Plot, Series, Span, draw_plot
from curvetune.report.figures.gather import MissingError
from curvetune.report.pages.charts import LEAST_POINTS, Chart
from curvetune.report.pages.looks import looks, looks_of
from curvetune.report.tables.main import by_ma

COST = "MA against the time of a cell, its probe included"
ABLATION = "MA over the option that is varied"


def cost_chart(grid: Grid, select: Select) -> Chart:
    """Return MA against the seconds of a cell, of methods of which every setting is done."""
    look, cells, probes = looks_of(grid), grid.methods(), _probe_seconds(grid)
    series = []
    for row in by_ma(method_rows(grid, select)):
        done = [cell for cell in cells[row.label] if cell.result is not None]
        if row.ma.mean is None or not done:
            continue
        seconds = fmean(_seconds(cell, probes) for cell in done)
        bar = [(seconds, row.ma.mean - row.ma.std, row.ma.mean + row.ma.std)] if row.ma.std else []
        series.append(Series(row.label, look[row.label], marks=[(seconds, row.ma.mean)], bars=bar))
    if not series or any(x <= 0 for s in series for x, _ in s.marks):
        raise MissingError("no method has a cell done in every setting")
    devices = {str((c.result or {}).get("device")) for c in grid.cells if c.result is not None}
    plot = Plot(f"seconds a cell, on {', '.join(sorted(devices))}", "MA, %", series, log=True)
    return Chart(f"{COST}; the bar is one sd", [draw_plot(plot)], _shown(look, series))


def ablation_chart(grid: Grid, select: Select) -> Chart:
    """Return MA over each option with numbers that tells the rows of a method apart."""
    values: dict[tuple[str, str], list[Span]] = {}
    for row in method_rows(grid, select):
        option = _numeric_option(row.label)
        if option is not None and row.ma.mean is not None:
            std = row.ma.std or 0.0
            point = (option[2], row.ma.mean - std, row.ma.mean + std)
            values.setdefault(option[:2], []).append(point)
    varied = {option: sorted(points) for option, points in values.items() if len(points) > 1}
    if not varied:
        raise MissingError("no option with numbers tells the rows of one method apart")
    look = looks([method for method, _ in varied])
    panels = []
    for (method, name), points in varied.items():
        middle = [(x, (low + high) / 2) for x, low, high in points]
        series = Series(method, look[method], line=middle, marks=middle, bars=points)
        plot = Plot(name, "MA, %", [series], title=method, at_least=LEAST_POINTS)
        panels.append(draw_plot(plot))
    return Chart(ABLATION, panels)


def _shown(look: Mapping[str, Look], series: Sequence[Series]) -> list[tuple[str, Look]]:
    names = {one.name for one in series}
    return [(label, one) for label, one in look.items() if label in names]


def _probe_seconds(grid: Grid) -> dict[str, float]:
    """Return what each probe took, which is told by the one cell that ran it."""
    return {
        cell.probe_id: seconds
        for cell in grid.cells
        if cell.probe_id is not None
        and (seconds := float((cell.result or {}).get("seconds", {}).get("probe", 0.0))) > 0
    }


def _seconds(cell: Cell, probes: Mapping[str, float]) -> float:
    own = float((cell.result or {}).get("seconds", {}).get("allocate", 0.0))
    return own + probes.get(cell.probe_id or "", 0.0)


def _numeric_option(label: str) -> tuple[str, str, float] | None:
    """Return ("curvenet", "skip_layers", 1.0) of "curvenet skip_layers=1"; None of others."""
    name, _, rest = label.partition(" ")
    option, equals, value = rest.partition("=")
    if not equals or " " in rest:
        return None
    try:
        return name, option, float(value)
    except ValueError:
        return None
