"""`curvetune offline`: grids without Ray, by the same command that a bare machine has."""

import typer

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def offline(context: typer.Context) -> None:
    """Run cells without Ray, in slices of time; carry a storage to and fro in small files.

    `curvetune offline run --help` has the options. A machine with PyTorch alone has the same as
    `python -m curvetune.offline`.
    """
    from curvetune.offline.command import main

    raise typer.Exit(main(context.args or ["--help"]))
