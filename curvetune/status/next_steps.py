"""What there is to do once a grid has run: where its results are, and three commands to type."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from curvetune.grids.cells import Cell, Grid
from curvetune.status.failures import given_options
from curvetune.store.files import address_of
from curvetune.system.redact import MASK
from curvetune.tracking.base import DATABASE


def next_lines(grid: Grid, storage: Path, command: str) -> list[str]:
    """Return where the results of a grid are and what to type next; nothing if none is done.

    Args:
        storage: the folder of the results; of an address in an object store its mirror.
        command: what ran, as it was typed: its --storage and the like are typed again.
    """
    done = [cell for cell in grid.cells if cell.state == "done"]
    if not done:
        return []
    where = given_options(command, ["--storage"])
    more = [*given_options(command, ["--data-dir", "--plugin"]), *where]
    page = ["report", grid.name, "--html", f"{grid.name}.html", *more]
    suspects = ["suspects", _to_look_at(done).cell_id, *more]
    if (storage / DATABASE).is_file():
        last, words = ["ui", *where], "its runs in MLflow's pages"
    else:  # a server has them
        last = ["report", grid.name, "--table", "significance", *where]
        words = "which methods differ"
    return [
        f"\nresults: {len(done)} of {len(grid.cells)} cells, in {address_of(storage) or storage}",
        "next:",
        _line(page, "all of it on one page"),
        _line(suspects, "labels that look wrong"),
        _line(last, words),
    ]


def _to_look_at(done: Sequence[Cell]) -> Cell:
    """Return the cell whose suspects say most: it recorded curves, and labels are wrong."""
    return max(done, key=lambda cell: (cell.probe_id is not None, cell.noise_rate or 0))


def _line(words: Sequence[str], what: str) -> str:
    text = shlex.join(["curvetune", *words])
    hidden = f"; put in again what {MASK} stands for" if MASK in text else ""
    return f"  {text}  # {what}{hidden}"
