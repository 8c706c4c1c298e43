"""Which cells a text names: a grid, GRID/METHOD, or the first digits of a cell's id."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvetune.errors import ConfigError, nearest, printable
from curvetune.grids.catalog import Catalog
from curvetune.grids.cells import Cell, Grid, read_grid
from curvetune.grids.labels import Setting, flatten, setting_parts
from curvetune.store import CellStore

LISTED = 20  # cells that a message names
UNSAID = frozenset({"seed", "method.name", "model.weights", "data.residence"})  # of --where


@dataclass(frozen=True)
class Named:
    """A cell that a text names."""

    cell_id: str
    probe_id: str | None  # None if its method has no probe


def result_of(store: CellStore, cell_id: str, file: str = "", what: str = "") -> dict[str, Any]:
    """Return the result of a cell, which has the file that is needed.

    Args:
        file: of the result, that must be here; none unless given.
        what: that file in words.

    Raises:
        ConfigError: the cell is not done, or its file stayed where it was run.
    """
    done = store.result(cell_id)
    if done is None:
        raise ConfigError(
            f"cell {cell_id} has no result yet; `curvetune why {cell_id}` says what it waits for"
        )
    if file and file not in done.get("files", {}):
        raise ConfigError(
            f"cell {cell_id} was read from a line of results, without its {what}; the storage "
            f"where it was run has it"
        )
    return done


def find_cell(storage: Path, text: str) -> str:
    """Return the id of a finished or unfinished cell: its first digits, or GRID/METHOD.

    Raises:
        ConfigError: no cell is so called, or several are.
    """
    if "/" not in text:
        return Catalog(storage).find(text)
    grid, found = _of_method(storage, text)
    if len(found) > 1:
        lines = [
            f"  {c.cell_id}  {c.label}, "
            f"{', '.join(setting_parts(c.setting, grid.settings))}, seed {c.seed} ({c.state})"
            for c in found[:LISTED]
        ]
        more = [f"  and {len(found) - LISTED} more"] if len(found) > LISTED else []
        raise ConfigError(
            "\n".join(
                [f"{printable(text)} is {len(found)} cells; give the id of one:", *lines, *more]
            )
        )
    return found[0].cell_id


def find_cells(storage: Path, text: str) -> list[Named]:
    """Return the cells of a grid, of GRID/METHOD, or the one with these first digits of its id.

    Raises:
        ConfigError: there are none.
    """
    if "/" not in text and text.partition("@")[0] in CellStore(storage).grids():
        cells = read_grid(storage, text).cells
    elif "/" in text:
        cells = tuple(_of_method(storage, text)[1])
    else:
        catalog = Catalog(storage)
        cell_id = catalog.find(text)
        config, digest = catalog.config(cell_id)
        return [Named(cell_id, config.probe_id(digest))]
    return [Named(cell.cell_id, cell.probe_id) for cell in cells]


def same_but_seeds(storage: Path, text: str, where: Sequence[str] = ()) -> list[Cell]:
    """Return the cells of GRID/METHOD, if they differ in nothing but their seeds.

    Args:
        where: KEY=VALUE, which of them; a key may be its last word, as in noise_rate=0.4.

    Raises:
        ConfigError: there are none, or they are of several settings, which are listed.
    """
    _, found = _of_method(storage, text)
    flats = {cell.cell_id: dict(flatten(cell.config)) for cell in found}
    for condition in where:
        found = [cell for cell in found if _is_so(condition, flats[cell.cell_id])]
        if not found:
            raise ConfigError(
                f"--where {printable(condition)}: no cell of {printable(text)} is so; leave it "
                f"out to see which there are"
            )
    kinds: dict[tuple[str, Setting], Cell] = {}
    for cell in found:
        kinds.setdefault((cell.label, cell.setting), cell)
    if len(kinds) > 1:
        varying = _varying([flats[cell.cell_id] for cell in kinds.values()])
        lines = [
            " ".join(["  ", *(f"--where {key}={short}" for key, short in shown.items())])
            for shown in (_shown(varying, flats[cell.cell_id]) for cell in kinds.values())
        ]
        raise ConfigError(
            "\n".join(
                [f"{printable(text)} has {len(kinds)} settings; choose one:", *lines[:LISTED]]
                + ([f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else [])
            )
        )
    return found


def _varying(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options in which configs differ, but for the seed."""
    keys = dict.fromkeys(key for flat in flats for key in flat if key not in UNSAID)
    return [key for key in keys if len({_option(flat.get(key)) for flat in flats}) > 1]


def _shown(varying: Sequence[str], flat: Mapping[str, Any]) -> dict[str, str]:
    """Return each of these options as `--where` takes it; by its last word where that is clear."""
    words = [key.rpartition(".")[2] for key in flat]
    short = {key: key.rpartition(".")[2] for key in varying}
    return {
        (short[key] if words.count(short[key]) == 1 else key): _option(flat.get(key))
        for key in varying
    }


def _is_so(condition: str, flat: Mapping[str, Any]) -> bool:
    """Say whether an option of a config has that value.

    Raises:
        ConfigError: there is no such option, or several have that last word.
    """
    key, is_given, wanted = condition.partition("=")
    keys = [k for k in flat if key in (k, k.rpartition(".")[2])]
    if key in keys:
        keys = [key]
    if not is_given or len(keys) != 1:
        why = f"{printable(key)!r} may be {', '.join(keys)}" if keys else "there is no such option"
        raise ConfigError(
            f"--where {printable(condition)}: {why}{nearest(key, flat)}; allowed is KEY=VALUE with "
            f"an option of the cells, as in --where noise_rate=0.4"
        )
    text = _option(flat[keys[0]])
    try:
        return text == wanted or float(text) == float(wanted)
    except ValueError:
        return False


def _option(value: Any) -> str:
    """Return a value as `--set` takes it: a bare word, a number, true, [80,100]."""
    return printable(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _of_method(storage: Path, text: str) -> tuple[Grid, list[Cell]]:
    name, _, label = text.partition("/")
    grid = read_grid(storage, name)
    found = [cell for cell in grid.cells if label in (cell.label, cell.name)]
    if not found:
        raise ConfigError(
            f"grid {name} has no method {printable(label)!r}; it has {', '.join(grid.methods())}"
        )
    return grid, found
