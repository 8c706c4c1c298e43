"""Whether the record of a grid holds what its readers rely on: it may come from anywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvetune.config import restored
from curvetune.errors import CorruptError
from curvetune.store.files import ID


def checked_grid(path: Path, grid: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a grid, if its cells have ids and configs.

    Raises:
        CorruptError: one has not.
    """
    try:
        for cell in grid["cells"]:
            _check_id(cell["cell_id"])
            if cell["probe_id"] is not None:
                _check_id(cell["probe_id"])
            _check_config(cell["config"])
            cell["config"] = restored(cell["config"])
        _check_more(grid)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(
            f"{path}: not the record of a grid ({type(error).__name__}: {error}); run the grid's "
            f"command again, which writes it anew, or remove it"
        ) from None
    return grid


def _check_more(grid: Mapping[str, Any]) -> None:
    """Check what a record may have beside its cells (commands.py); older ones have none of it."""
    for key in ("last", "commands", "profiles"):
        if any(not isinstance(text, str) for text in _list(grid, key)):
            raise TypeError(f"{key} is a list of texts")
    for one in _list(grid, "others"):
        if not isinstance(one["grid"], str) or not isinstance(one["differs"], list):
            raise TypeError("others is a list of grids with names and keys")
    if not isinstance(grid.get("made", {}), dict):
        raise TypeError(f"made is a mapping, got {grid['made']!r}")


def _list(grid: Mapping[str, Any], key: str) -> list[Any]:
    found = grid.get(key, [])
    if not isinstance(found, list):
        raise TypeError(f"{key} is a list, got {found!r}")
    return found


def _check_id(value: Any) -> None:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ValueError(f"an id is 16 hexadecimal digits, got {value!r}")


def _check_config(config: Mapping[str, Any]) -> None:
    """Check what a cell is told by; an older version's config may lack other options."""
    bias = config["bias"]
    for text in (*(config[key]["name"] for key in ("data", "model", "method")), bias["noise"]):
        if not isinstance(text, str):
            raise TypeError(f"a name is text, got {text!r}")
    for number in (bias["imbalance"], bias["noise_rate"], config["seed"]):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"expected a number, got {number!r}")
