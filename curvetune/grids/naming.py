"""Which cells a text names: a grid, GRID/METHOD, or the first digits of a cell's id."""

from dataclasses import dataclass
from pathlib import Path

from curvetune.errors import ConfigError, printable
from curvetune.grids.catalog import Catalog
from curvetune.grids.cells import Cell, Grid, read_grid
from curvetune.grids.labels import setting_parts
from curvetune.store import CellStore

LISTED = 20  # cells that a message names


@dataclass(frozen=True)
class Named:
    """A cell that a text names."""

    cell_id: str
    probe_id: str | None  # None if its method has no probe


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


def _of_method(storage: Path, text: str) -> tuple[Grid, list[Cell]]:
    name, _, label = text.partition("/")
    grid = read_grid(storage, name)
    found = [cell for cell in grid.cells if label in (cell.label, cell.name)]
    if not found:
        raise ConfigError(
            f"grid {name} has no method {printable(label)!r}; it has {', '.join(grid.methods())}"
        )
    return grid, found
