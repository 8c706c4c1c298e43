"""Two saved views of a grid for MLflow's page of runs, which lists them under `Views`.

MLflow keeps a saved view as a tag of the experiment: a name, two times, and the state of the page
as JSON (frontend of MLflow 3.17, `savedViews`; older versions ignore it). Its keys are those of the
page's own state; a version that no longer knows one leaves it out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curvetune.grids.cells import Grid
from curvetune.grids.labels import setting_parts
from curvetune.report.sheet import MARKDOWN
from curvetune.tracking.base import LABEL_TAG, LEVEL_TAG
from curvetune.tracking.sync.share import CELLS, METHODS, TAG, share_key

LONGEST = 5000  # characters of an experiment's tag
LOADED = 100  # runs that the page loads before somebody presses "Load more"
# S, P and SL of the paper, as params of a cell are called.
PAPER_OPTIONS = ("skip_layers", "embedding_dim", "removed_losses")

Chart = dict[str, Any]


def saved_views(grid: Grid) -> dict[str, str]:
    """Return the tags that make the views, by their keys."""
    ends = [cell.finished for cell in grid.cells if cell.finished is not None]
    made = round(1000 * min(ends, default=0.0))  # not now: a sync changes nothing that is the same
    views = {METHODS: _methods(grid), CELLS: _cells(grid)}
    names = {METHODS: METHODS, CELLS: cells_name(grid)}
    found = {f"{TAG}{share_key(k)}": _envelope(names[k], made, view) for k, view in views.items()}
    return {key: value for key, value in found.items() if len(value) <= LONGEST}


def cells_name(grid: Grid) -> str:
    """Return the title of the view CELLS, which says so where it is not of all cells."""
    seed = _seed_shown(grid)
    return CELLS if seed is None else f"{CELLS}, seed {seed}"


def _methods(grid: Grid) -> dict[str, Any]:
    count = len(grid.methods())
    return _page(
        f"tags.`{LEVEL_TAG}` = 'method'",
        order=("metrics.`ma`", False),
        columns=[f"metrics.`{key}`" for key in ("ma", "ma_std", "cells_done")],
        charts=[_chart("BAR", "MA of each method", metricKey="ma", runs=count)],
        height=280 + 14 * count,
    )


def _cells(grid: Grid) -> dict[str, Any]:
    seed = _seed_shown(grid)
    wanted = [cell for cell in grid.cells if seed in (None, cell.seed)]
    where = "" if seed is None else f" AND params.`seed` = '{seed}'"
    params = ["imbalance", "noise_rate", *_varying_options(grid)]
    columns = [f"params.`{key}`" for key in (*params, "seed")]
    scatter = _chart(
        "SCATTER",
        "Noise rate and accuracy of each cell",
        runs=len(wanted),
        xaxis={"key": "noise_rate", "type": "PARAM"},
        yaxis={"key": "accuracy", "type": "METRIC"},
    )
    parallel = _chart(
        "PARALLEL",
        "Options of a cell, and what it came to",
        runs=len(wanted),
        selectedParams=params,
        selectedMetrics=["accuracy"],
        showAllRuns=True,
    )
    page = _page(
        f"tags.`{LEVEL_TAG}` = 'cell'{where}",
        order=("attributes.start_time", True),
        columns=[*columns, *(f"metrics.`{key}`" for key in ("accuracy", "accuracy_best"))],
        charts=[scatter, parallel],
        height=420,
    )
    if len(wanted) > LOADED:  # a group's mean would be one over the cells that are loaded
        return page
    by_label = {"mode": "tag", "groupByData": LABEL_TAG}
    group = {"aggregateFunction": "average", "groupByKeys": [by_label]}
    return page | {"groupBy": group, "useGroupedValuesInCharts": False}


def _seed_shown(grid: Grid) -> int | None:
    """Return the one seed that the view CELLS is of; None if MLflow loads all cells at once."""
    return min(cell.seed for cell in grid.cells) if len(grid.cells) > LOADED else None


def _varying_options(grid: Grid) -> list[str]:
    """Return which of SL, P and S are params of this grid's cells."""
    methods = [cell.config["method"] for cell in grid.cells]
    return [key for key in PAPER_OPTIONS if any(key in method for method in methods)]


def _page(
    which: str,
    *,
    order: tuple[str, bool],
    columns: Sequence[str],
    charts: Sequence[Chart],
    height: int,
) -> dict[str, Any]:
    section = {
        "uuid": share_key("section"),
        "name": "curvetune",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
        "columns": 1,
        "cardHeight": height,
    }
    placed = {"metricSectionId": section["uuid"]}
    return {
        "searchFilter": which,
        "orderByKey": order[0],
        "orderByAsc": order[1],
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            {**chart, **placed, "uuid": share_key(chart["displayName"])} for chart in charts
        ],
        "compareRunSections": [section],
        "isAccordionReordered": True,
    }


def _chart(kind: str, title: str, *, runs: int, **options: Any) -> Chart:
    base = {"type": kind, "displayName": title, "runsCountToCompare": max(runs, 10)}
    return {**base, "deleted": False, "isGenerated": False, **options}


def _envelope(name: str, when: int, state: Mapping[str, Any]) -> str:
    text = json.dumps(state, separators=(",", ":"))
    return json.dumps({"name": name, "createdAt": when, "updatedAt": when, "state": text})


def how_to_read(grid: Grid) -> str:
    """Return, as Markdown, what the pages of MLflow show of a grid."""
    settings = len(grid.settings)
    sample = ", ".join(setting_parts(grid.settings[0], grid.settings)) if settings else "none"
    return (
        f"**How to read this.** Runs are nested: this grid, its methods, their cells. A cell is "
        f"one training: method, bias setting ({settings} of them, such as "
        f"{sample.translate(MARKDOWN)}) and seed. "
        f"`ma` of a method is its accuracy averaged over seeds, then over bias settings.\n\n"
        f"In the list of runs, `Views` has *{METHODS}* and *{cells_name(grid)}*; the "
        f"button with a chart beside the search field shows their charts."
    )
