"""A grid as tables and programs want it: a row per method, per setting and per cell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.analysis.chance import Chance, chance_of, is_at_chance
from curvetune.analysis.statistics import (
    Mean,
    accuracies_so_far,
    by_setting,
    mean_accuracy,
    over_seeds,
)
from curvetune.grids.cells import ACCURACY, Cell, Grid, Select, read_grid
from curvetune.grids.labels import Setting, setting_text

if TYPE_CHECKING:
    import polars

SCHEMA_VERSION = 1


def scores(cells: Sequence[Cell], select: Select = "last") -> dict[tuple[Setting, int], float]:
    """Return the accuracy of each setting and seed that is done among the cells of one label."""
    found = {(cell.setting, cell.seed): cell.accuracy(select) for cell in cells}
    return {where: value for where, value in found.items() if value is not None}


@dataclass(frozen=True)
class SettingMean:
    """The accuracy of one method in one bias setting, over seeds."""

    setting: Setting
    accuracy: Mean
    seeds_done: int
    seeds: int
    chance: Chance | None = None  # of its test images

    @property
    def at_chance(self) -> bool | None:
        """Whether it is no better than chance; None if that is not known."""
        return is_at_chance(self.chance, self.accuracy.mean)


@dataclass(frozen=True)
class MethodRow:
    """A method of the table: its MA, and how much of the grid is there."""

    label: str
    ma: Mean
    ma_so_far: float | None  # over the settings and seeds that all methods have done
    settings: tuple[SettingMean, ...]
    cells_done: int
    cells: int

    @property
    def at_chance(self) -> bool:
        """Whether it is no better than chance in any setting."""
        return any(column.at_chance for column in self.settings)


def method_rows(grid: Grid, select: Select = "last") -> list[MethodRow]:
    """Return a row for each method label, in the grid's order."""
    name = f"rows of {select}"
    if name not in grid.known:  # every table of a report asks
        grid.known[name] = _method_rows(grid, select)
    return [*grid.known[name]]


def _method_rows(grid: Grid, select: Select) -> list[MethodRow]:
    methods = grid.methods()
    values = {label: scores(cells, select) for label, cells in methods.items()}
    so_far = accuracies_so_far(values)
    return [
        _method_row(grid, label, cells, values[label], so_far[label])
        for label, cells in methods.items()
    ]


def _method_row(
    grid: Grid,
    label: str,
    cells: Sequence[Cell],
    values: dict[tuple[Setting, int], float],
    so_far: float | None,
) -> MethodRow:
    wanted = Counter(cell.setting for cell in cells)
    done = by_setting(values)
    one_of = {cell.setting: cell for cell in cells}
    return MethodRow(
        label=label,
        ma=mean_accuracy(grid.settings, values),
        ma_so_far=so_far,
        settings=tuple(
            SettingMean(
                setting,
                over_seeds(done.get(setting, [])),
                len(done.get(setting, [])),
                wanted[setting],
                chance_of(grid, one_of[setting]) if setting in one_of else None,
            )
            for setting in grid.settings
        ),
        cells_done=len(values),
        cells=len(cells),
    )


def grid_json(grid: Grid, select: Select = "last") -> dict[str, Any]:
    """Return the methods and cells of a grid with all their numbers."""
    return {
        "schema_version": SCHEMA_VERSION,
        "grid": grid.name,
        "profiles": list(grid.profiles),
        "select": select,
        "command": grid.command,
        "methods": [_method_json(row) for row in method_rows(grid, select)],
        "cells": [cell_json(cell) for cell in grid.cells],
    }


def _method_json(row: MethodRow) -> dict[str, Any]:
    return {
        "method": row.label,
        "ma": row.ma.mean,
        "ma_std": row.ma.std,
        "ma_interval": _ends(row.ma),
        "ma_so_far": row.ma_so_far,
        "cells_done": row.cells_done,
        "cells": row.cells,
        "settings": [
            {
                **asdict(column.setting),
                "accuracy": column.accuracy.mean,
                "accuracy_std": column.accuracy.std,
                "accuracy_interval": _ends(column.accuracy),
                "seeds_done": column.seeds_done,
                "seeds": column.seeds,
                "at_chance": column.at_chance,
            }
            for column in row.settings
        ],
    }


def _ends(value: Mean) -> list[float] | None:
    return None if value.interval is None else list(value.interval)


def cell_json(cell: Cell) -> dict[str, Any]:
    """Return a cell as `report --json` lists it; accuracies in percent."""
    result = cell.result or {}
    return {
        "cell_id": cell.cell_id,
        "probe_id": cell.probe_id,
        "method": cell.label,
        "name": cell.name,
        "state": cell.state,
        "data": cell.config["data"]["name"],
        "model": cell.setting.model,
        **{key: cell.config["bias"][key] for key in ("imbalance", "noise", "noise_rate")},
        "setting": setting_text(cell.setting),
        "own_imbalance": cell.setting.own_imbalance,
        "seed": cell.seed,
        **{key: result.get(key) for key in ACCURACY.values()},
        "per_class_accuracy": result.get("per_class_accuracy"),
        "weight_gap": result.get("weight_gap"),
        "seconds": cell.seconds,
        "device": result.get("device"),
        "finished": cell.finished,
        "error": cell.error,
    }


def cells_frame(storage: Path | str, grid: str) -> "polars.DataFrame":
    """Return a data frame with a row per cell: what `report --json` lists, and every option.

    Raises:
        ConfigError: the storage has no such grid.
    """
    import polars

    rows = [{**cell_json(cell), **_options(cell)} for cell in read_grid(storage, grid).cells]
    columns = dict.fromkeys(key for row in rows for key in row)
    return polars.DataFrame({key: [row.get(key) for row in rows] for key in columns})


def _options(cell: Cell) -> dict[str, Any]:
    return {key: value for key, value in cell.config["method"].items() if key != "name"}
