"""`curvetune data`: what people's own images are, before a grid is run on them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs

if TYPE_CHECKING:
    from curvetune.status.data_check import Checked

UNFIT = 2  # as of wrong data

app = typer.Typer(
    name="data", help="Look at images before a grid is run on them.", no_args_is_help=True
)


@app.callback()
def about() -> None:
    """Look at images before a grid is run on them."""


@app.command()
def check(
    data_dir: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with images, or a list of them.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Read it as this data.name, not the likeliest."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="The data.variant to look at, of several.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=8, max=512, help="What images are resized to."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Count rows; open no image.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Say what DIR is, what is wrong with it, and which command to run next.

    Its form, images of each class, and what is missing, unreadable, or both in train and test.
    Every image is read once; a grid does not read it again. Exit code 2 if no grid could run.
    """
    from curvetune.system.progress import working

    with working("looking at the images", signs(as_json=as_json)):
        from curvetune.status.data_check import check_data

        found = check_data(data_dir, name=name, variant=variant, image_size=image_size, quick=quick)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        _print(found)
    if found.problem is not None:
        raise typer.Exit(UNFIT)


def _print(found: "Checked") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from curvetune.status.data_check import SHOWN, lines
    from curvetune.system.terminal import plain_console

    console = plain_console()
    for line in lines(found):
        console.print(line, highlight=False, soft_wrap=True)
    rows = found.rows()
    if rows:
        table = Table(box=SIMPLE_HEAD, show_edge=False)
        for column in rows[0]:
            table.add_column(column, justify="left" if column == "class" else "right")
        for row in rows[:SHOWN]:
            table.add_row(*(Text(str(value)) for value in row.values()))
        console.print(table)
        if len(rows) > SHOWN:
            console.print(f"and {len(rows) - SHOWN:,} more classes: --json has all")
    if found.problem is not None:
        console.print(f"problem: {found.problem}", highlight=False, soft_wrap=True)
        return
    console.print(f"next: {found.command}", highlight=False, soft_wrap=True)
