"""Charts as files of their own, for pages that are not ours: light, since those may not say."""

from curvetune.report.charts.plot import Drawing
from curvetune.report.pages.charts import Chart
from curvetune.report.pages.templates import render

TITLE, LEGEND = 22.0, 22.0  # heights
LETTER = 7.0  # width of one of a legend's names, at most


def picture(chart: Chart) -> str:
    """Return a chart as an SVG file: its panels beside each other, the legend below."""
    at, panels = 0.0, []
    for panel in chart.panels:
        title = panel.plot.title if isinstance(panel, Drawing) else ""
        panels.append({"drawing": panel, "at": (at, TITLE), "title": title})
        at += panel.width
    legend, x = [], 12.0
    for name, look in chart.legend if len(chart.legend) > 1 else ():
        legend.append((name, look, x))
        x += 48 + LETTER * len(name)
    height = TITLE + max((panel.height for panel in chart.panels), default=0.0) + LEGEND
    return render(
        "picture.svg.j2",
        caption=chart.caption,
        panels=panels,
        legend=legend,
        width=max(at, x),
        height=height,
    )
