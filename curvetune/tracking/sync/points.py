"""What a tracker is to show of a grid: the params and points of each run, from its records."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curvetune.analysis.aggregate import method_rows, scores
from curvetune.analysis.statistics import mean_accuracy
from curvetune.grids.cells import ACCURACY, Cell, Grid, Rows
from curvetune.grids.labels import Config, Setting, imbalance_words, noise_words
from curvetune.tracking.base import Point

OF_THE_ROW = ("epoch", "time", "seconds")  # the time stamps tell the seconds
DIGITS = 2  # of a percentage, as in all tables
WITHOUT_STAGE = ("accuracy", "weight_gap")  # only the final training has them


def cell_params(config: Config) -> dict[str, str]:
    """Return a cell's config, flat, so that the tracker's own tables can group by it."""
    bias, method = config["bias"], config["method"]
    params = {
        "method": method["name"],
        **{key: bias[key] for key in ("imbalance", "noise", "noise_rate")},
        "seed": config["seed"],
        "data": config["data"]["name"],
        "model": config["model"]["name"],
        "probe_epochs": config["probe"]["epochs"],
        "allocate_epochs": config["allocate"]["epochs"],
        **{key: value for key, value in method.items() if key != "name"},
    }
    return {key: _text(value) for key, value in params.items()}


def own_params(setting: Setting) -> dict[str, str]:
    """Return what params say of data that is biased as it is, in place of "1" and "0"."""
    if not setting.is_own:
        return {}
    params = {"imbalance": imbalance_words(setting)}
    if not setting.noise_rate:
        params |= dict.fromkeys(("noise", "noise_rate"), noise_words(setting))
    return params


def history_points(stage: str, rows: Rows) -> list[Point]:
    """Return the numbers of some epochs, as `<stage>/loss` and so on."""
    return [
        Point(
            key if key in WITHOUT_STAGE else f"{stage}/{key}",
            _shown(key, value),
            row["epoch"],
            row["time"],
        )
        for row in rows
        for key, value in _numbers(row)
        if key not in OF_THE_ROW
    ]


def result_points(result: Mapping[str, Any], rows: Rows) -> list[Point]:
    """Return the numbers of a result that are not in the `rows` of its history.

    The accuracy of each class is a table (files.py): charts of one point would hide all others.
    """
    in_rows = {key for row in rows for key in row}
    values = {key: result.get(key) for key in (*ACCURACY.values(), "weight_gap")}
    for stage, seconds in result.get("seconds", {}).items():
        values[f"seconds/{stage}"] = seconds
    step = rows[-1]["epoch"] if rows else 0
    return [
        Point(key, _shown(key, float(value)), step, float(result["finished"]))
        for key, value in values.items()
        if value is not None and key not in in_rows
    ]


def ma_values(cells: Sequence[Cell], settings: Sequence[Setting]) -> dict[str, float | None]:
    """Return what the run of a method shows when exactly these of its cells are done."""
    values = scores(cells)
    ma = mean_accuracy(settings, values)
    return {
        "ma": None if ma.mean is None else round(ma.mean, DIGITS),
        "ma_std": None if ma.std is None else round(ma.std, DIGITS),
        "cells_done": float(len(values)),
    }


def grid_values(grid: Grid) -> dict[str, float | None]:
    """Return what the run of a grid shows now: the MA of each method, in order.

    `ma_so_far` is over the settings and seeds that all methods have done: it can be compared.
    """
    rows = method_rows(grid)
    values: dict[str, float | None] = {"cells_done": float(grid.counts()["done"])}
    for row in rows:
        name = row.label.replace("=", " ")  # MLflow takes no `=` in a name
        for key, value in (("ma", row.ma.mean), ("ma_so_far", row.ma_so_far)):
            values[f"{key}/{name}"] = None if value is None else round(value, DIGITS)
    return values


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def _shown(key: str, value: float) -> float:
    """Return an accuracy with the digits of our tables: MLflow shows all that it has."""
    return round(value, DIGITS) if key.startswith("accuracy") else value


def _text(value: Any) -> str:
    """Return a value as people write it: 10 for 10.0, true for True."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)
