"""What `decide` does: seeds of two methods, a round at a time, until it is known which is better.

It raises and returns; whoever calls it prints. The command line is cli/decide.py.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from curvetune.analysis.decide import Standing
from curvetune.errors import ConfigError, printable
from curvetune.places import Places

if TYPE_CHECKING:
    from curvetune.config import CellConfig
    from curvetune.grids.cells import Select
    from curvetune.planning.more_seeds import Duel
    from curvetune.planning.plan import Plan

SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Budget:
    """What may be spent on new cells: a round begins only within it, and then ends."""

    cells: float = math.inf
    seconds: float = math.inf


def parse_budget(text: str) -> Budget:
    """Return what "40" (cells) or "1.5h" or "90m" stands for; no limit for an empty text.

    Raises:
        ConfigError: it is neither, or not positive.
    """
    if not text:
        return Budget()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hms]?)", text.strip())
    value = float(match[1]) if match else 0.0
    if match is None or value <= 0 or (not match[2] and value != int(value)):
        raise ConfigError(
            f"--budget {printable(text)!r}: allowed are a number of cells, as 40, or a time with "
            f"its unit, as 1.5h or 90m, above 0"
        )
    return Budget(seconds=value * SECONDS[match[2]]) if match[2] else Budget(cells=value)


def read_duel(grid: str, a: str, b: str, storage: Path) -> "Duel":
    """Return two methods of a recorded grid.

    Raises:
        ConfigError: there is no such grid, or it has no such methods.
    """
    from curvetune.grids.cells import read_grid
    from curvetune.planning.more_seeds import duel_of
    from curvetune.store import CellStore

    found = read_grid(storage, grid)
    record = CellStore(storage).read_grid(grid)
    by_id = {cell.cell_id: cell for cell in found.cells}
    cells = [by_id[entry["cell_id"]] for entry in record["cells"]]
    return duel_of(grid, record, [c.label for c in cells], [c.setting for c in cells], a, b)


def standing(
    duel: "Duel", storage: Path, *, margin: float = 0.0, select: "Select" = "last"
) -> Standing:
    """Return how the two methods stand, after the seeds that have all cells.

    The first seed that lacks one ends it: none is left out for how it came out.
    """
    from curvetune.grids.cells import ACCURACY
    from curvetune.store import CellStore

    store, seeds, differences = CellStore(storage), [], []

    def accuracy(cell: "CellConfig") -> float | None:
        result = store.result(cell.cell_id(duel.digest))
        return None if result is None else float(result[ACCURACY[select]])

    for seed in duel.seeds():
        one, two = ([accuracy(cell) for cell in cells] for cells in duel.cells(seed))
        known = [(x, y) for x, y in zip(one, two, strict=True) if x is not None and y is not None]
        if len(known) < len(one):
            break
        seeds.append(seed)
        differences.append(fmean(y - x for x, y in known))
    return Standing(duel.a, duel.b, tuple(seeds), tuple(differences), margin)


def make_round(
    duel: "Duel",
    num_seeds: int,
    places: Places,
    tell: Callable[[str], object],
    *,
    begin: int = 0,
) -> "Plan":
    """Return the plan of all cells of so many seeds, of which those that are done stay.

    Args:
        begin: how many of the first seeds are left out. A record of the grid has them, and records
            of which each has all seeds before it would grow with the square of the rounds.

    Raises:
        ConfigError: the data is another one than the grid's.
    """
    from curvetune.known import has_probe, is_done
    from curvetune.planning.again import made_of
    from curvetune.planning.plan import build_plan
    from curvetune.planning.retry import check_data
    from curvetune.planning.space import Space
    from curvetune.run import checked
    from curvetune.store import CellStore, CurveStore

    places = places.or_else(duel.data_dir, duel.on_bad)
    cells = duel.until(num_seeds, begin=begin)
    space = Space(duel.name, cells, duel.profiles[-1], duel.data_dir, duel.on_bad)
    images = places.source(space.cells[0].data)
    plan = build_plan(
        space,
        duel.digest,
        is_done=partial(is_done, CellStore(places.storage), []),
        has_probe=partial(has_probe, CurveStore(places.storage), tell),
    )
    check_data(plan, images.digest(places.data_dir), places.data_dir)
    plan = replace(plan, made=made_of(space, places.data_dir, places.on_bad))
    return checked(plan, images, places) if plan.left else plan
