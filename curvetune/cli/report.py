"""`curvetune status` and `curvetune report`: what the storage says; they change nothing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from curvetune.cli import options as o
from curvetune.errors import ConfigError, nearest

if TYPE_CHECKING:
    from curvetune.report.cells import Select

SCHEMA_VERSION = 1


def status(
    grid: Annotated[
        str | None, typer.Argument(metavar="[GRID]", help="One grid; all of them unless given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--watch", help="Go on showing it until the grid is complete (Ctrl-C).")
    ] = False,
    every_s: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.2, help="Between two looks of --watch."),
    ] = 2.0,
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Show which cells of GRID are done, running, failed, stale or waiting, also while it runs.

    A stale cell was begun and left: its process is gone. Without GRID, show how far every grid in
    the storage is.
    """
    folder = o.storage_or_default(storage)
    if grid is None:
        if follow:
            raise ConfigError("--watch needs a GRID; `curvetune status` lists those there are")
        _status_of_all(folder, as_json=as_json)
        return
    if follow:
        from curvetune.report.watch import watch

        watch(folder, grid, every_s=every_s, given_storage=storage, as_json=as_json)
        return
    from curvetune.report.activity import grid_progress
    from curvetune.report.cells import read_grid
    from curvetune.report.status import print_status, progress_json

    progress = grid_progress(read_grid(folder, grid))
    if as_json:
        typer.echo(json.dumps(progress_json(progress, folder, storage), indent=1))
        return
    from curvetune.report.console import plain_console

    print_status(progress, plain_console(), folder, storage)


def report(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORM", help="table, or as text: markdown, csv, latex."),
    ] = "table",
    select: Annotated[
        str,
        typer.Option(
            "--select",
            metavar="WHICH",
            help="Accuracy of the last epoch, mean of the last10, or best (which selects on the "
            "test set, as the paper does).",
        ),
    ] = "last",
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Show the mean accuracy (MA) of every method of GRID, and its accuracy in every setting."""
    from curvetune.report.cells import ACCURACY

    if select not in ACCURACY:
        raise ConfigError(
            f"--select {select!r}: allowed are {', '.join(ACCURACY)}{nearest(select, ACCURACY)}"
        )
    chosen = cast("Select", select)
    folder = o.storage_or_default(storage)
    if as_json:
        from curvetune.report.collect import report_json

        typer.echo(json.dumps(report_json(folder, grid, chosen), indent=1))
        return
    from curvetune.report.tables import print_report, render

    if form != "table":
        typer.echo(render(folder, grid, form, chosen), nl=False)
        return
    from curvetune.report.console import plain_console

    print_report(folder, grid, plain_console(), chosen)


def _status_of_all(storage: Path, *, as_json: bool) -> None:
    """Show how many cells of each grid are in which state."""
    from curvetune.report.cells import read_grid
    from curvetune.store import CellStore

    counts = {name: read_grid(storage, name).counts() for name in CellStore(storage).grids()}
    if as_json:
        grids = [{"grid": name, **states} for name, states in counts.items()]
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "grids": grids}, indent=1))
        return
    if not counts:
        typer.echo(f"no grid in {storage} yet; `curvetune grid digits` makes one", err=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from curvetune.report.console import plain_console

    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("grid")
    for header in ("cells", *next(iter(counts.values()))):
        table.add_column(header, justify="right")
    for name, states in counts.items():
        table.add_row(name, str(sum(states.values())), *map(str, states.values()))
    plain_console().print(table)
