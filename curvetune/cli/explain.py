"""`curvetune why`: what decides a cell, and what it has come to."""

import json
from typing import Annotated

import typer

from curvetune.cli import options as o


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

    A cell is done, running, failed, stale, cached or waiting. Stale: it was begun, and its process
    is gone. Cached: it is not begun, but its probe is stored. Nothing is changed.
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
