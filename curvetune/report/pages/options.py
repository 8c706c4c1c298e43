"""The options of a grid: what all cells share and differs from the defaults, and what varies."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from curvetune.config import CellConfig
from curvetune.errors import printable
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import flatten

SHOWN = 8  # values of an option that varies


def options_set(grid: Grid) -> list[tuple[str, str]]:
    """Return each option that is not at its default, with its value or values."""
    values: dict[str, dict[str, None]] = {}
    given: dict[str, None] = {}
    for cell in grid.cells:
        default = _default(cell)
        for key, value in options_of(cell):
            values.setdefault(key, {})[_text(value)] = None
            if default.get(key, ...) != value:
                given[key] = None
    return [(key, _several(list(values[key]))) for key in given]


def options_of(cell: Cell) -> Iterator[tuple[str, Any]]:
    """Yield every option of a cell as `--set` takes it, with its value."""
    yield from flatten(cell.config)


def cell_options(cell: Cell) -> list[tuple[str, str]]:
    """Return every option of a cell, and its value in words."""
    return [(key, _text(value)) for key, value in options_of(cell)]


def _default(cell: Cell) -> Mapping[str, Any]:
    """Return what the options of a cell of this data and method are unless given."""
    config = cell.config
    least = {
        "data": {"name": config["data"]["name"]},
        "model": {"name": config["model"]["name"]},
        "method": {"name": config["method"]["name"]},
    }
    try:
        return dict(flatten(CellConfig.model_validate(least).model_dump(mode="json")))
    except (ValidationError, ValueError):  # of a plugin that is not here: all of it is shown
        return {}


def _several(values: list[str]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return printable(value if isinstance(value, str) else json.dumps(value), 300)
