"""`curvetune why`: what decides a cell. `curvetune show`: what decides a grid, to run it again."""

import json
from typing import Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.process.streams import write_data


def why(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL",
            help="Its id, as `curvetune status GRID` lists it, or the first digits of it.",
        ),
    ],
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Explain CELL: what decides it, its state, and in what it differs from the nearest result.

    A cell is done, running, failed, stale, paused, cached or waiting. Stale: it was begun, and its
    process is gone. Paused: `tune` stopped it early, with a checkpoint. Cached: it is not begun,
    but its probe is stored. Nothing is changed.
    """
    o.load_plugins(plugins)
    from curvetune.status.why import explain, why_json

    folder = o.storage_or_default(storage)
    found = explain(folder, cell)
    if as_json:
        typer.echo(json.dumps(why_json(found), indent=1))
        return
    from curvetune.status.why_text import print_why
    from curvetune.system.terminal import plain_console

    print_why(found, plain_console(), folder, storage)


def show(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    only_last: o.OnlyLast = False,
    storage: o.Storage = None,
) -> None:
    """Print GRID as a search space, complete with all options: `curvetune show GRID > again.yaml`.

    `curvetune grid again.yaml` then finds every result. It also runs elsewhere: all that decides a
    number is in the file, but the images and plugins of your own.
    """
    from curvetune.planning.again import again, needed_plugins
    from curvetune.store import CellStore

    name = o.part_of(grid, only_last=only_last)
    found = CellStore(o.storage_or_default(storage)).read_grid(name)
    write_data(again(found))
    for plugin in needed_plugins(found):
        typer.echo(f"it needs the plugin {plugin}: give it with --plugin FILE.py", err=True)
