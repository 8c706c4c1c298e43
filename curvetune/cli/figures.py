"""`curvetune figures`: the figures of a grid and of its cells, as files."""

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.report import selected
from curvetune.errors import ConfigError

if TYPE_CHECKING:
    from curvetune.grids.cells import Cell, Grid
    from curvetune.report.figures import Drawn


def figures(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="svg or png.")] = "svg",
    only: Annotated[
        str,
        typer.Option(
            "--only",
            metavar="NAMES",
            help="Of the grid: settings, heat, heat-difference, accuracy-cost, ablation, "
            "learning-methods. Of a cell: learning, loss-curves, class-counts, weights, "
            "weight-time, confusion.",
        ),
    ] = "",
    cell: Annotated[
        list[str] | None,
        typer.Option(
            "--cell",
            metavar="CELL",
            help="Draw this cell, named by the first digits of its id; can be given again. Else "
            "the first seed of each method and setting.",
        ),
    ] = None,
    select: o.Select = "last",
    only_last: o.OnlyLast = False,
    dark: Annotated[bool, typer.Option("--dark", help="For a dark page.")] = False,
    plugins: o.Plugins = None,
    data_dir: o.StoredDataDir = None,
    storage: o.Storage = None,
) -> None:
    """Draw a grid and its cells: heat maps, accuracy against cost, curves, weights, confusion.

    The name of a file says grid, figure, and of a cell its method, setting, seed and id.
    If a figure cannot be drawn, stderr says why, and the others are drawn all the same.
    """
    from curvetune.grids.cells import read_grid
    from curvetune.planning.selection import parse_names
    from curvetune.report.figures import FORMATS, check_names, draw_all, in_the_dark

    o.load_plugins(plugins)
    if form not in FORMATS:
        raise ConfigError(f"--format {form!r}: allowed are {', '.join(FORMATS)}")
    chosen = selected(select)
    check_names(names := parse_names(only))
    folder = o.storage_or_default(storage)
    found = read_grid(folder, o.part_of(grid, only_last=only_last))
    drawn = draw_all(
        folder,
        found,
        cells=None if not cell else [_find(found, text) for text in cell],
        only=names,
        select=chosen,
        data_dir=o.data_dir_or_default(data_dir),
    )
    with in_the_dark() if dark else nullcontext():
        _write(drawn, found, out, form, asked=bool(names))


def _find(grid: "Grid", text: str) -> "Cell":
    """Return the one cell of a grid whose id begins with `text`.

    Raises:
        ConfigError: there is none, or several.
    """
    found = [cell for cell in grid.cells if text and cell.cell_id.startswith(text)]
    if len(found) != 1:
        raise ConfigError(
            f"--cell {text!r} is {len(found)} cells of {grid.name}; "
            f"`curvetune status {grid.name}` lists them"
        )
    return found[0]


def _write(drawn: "Iterable[Drawn]", grid: "Grid", out: Path, form: str, *, asked: bool) -> None:
    """Write each figure to `out`, and say where and which could not be drawn."""
    from curvetune.report.figures import file_of, name_of
    from curvetune.store.files import write_atomic

    written, damaged = 0, 0
    for one in drawn:
        name = name_of(grid, one)
        if one.figure is None:
            damaged += not one.is_missing
            if asked or not one.is_missing:
                typer.echo(f"no {name}: {one.problem}", err=True)
            continue
        path = out / f"{name}.{form}"
        write_atomic(path, file_of(one.figure, form), durable=False)
        typer.echo(path)
        written += 1
    typer.echo(f"{written} figures in {out}" + f"; {damaged} damaged" * bool(damaged), err=True)
