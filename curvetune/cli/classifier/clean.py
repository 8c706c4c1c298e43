"""`curvetune clean`: a data set without suspect labels, or with corrected ones, in a new folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.cli.suspects import Score, Where

if TYPE_CHECKING:
    from curvetune.cleaning.clean import Cleaned

AMOUNT = "How many"


def clean(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL",
            help="Its id, the first digits of it, or GRID/METHOD: then the mean over its seeds.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    relabel: Annotated[
        bool,
        typer.Option(
            "--relabel",
            help="Keep suspects, under the class that the classifier holds for the likeliest "
            "beside their own.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE.csv",
            help="Correct these labels and no others; `suspects --format labels` makes the list.",
        ),
    ] = None,
    copies: Annotated[
        bool, typer.Option("--copy", help="Copy files, instead of links to those that are there.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="The worst so many.", rich_help_panel=AMOUNT),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            min=0,
            max=1,
            help="This share of the training images; else the share that the losses suggest.",
            rich_help_panel=AMOUNT,
        ),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(
            "--above",
            min=0,
            max=1,
            help="Those with a higher score than this.",
            rich_help_panel=AMOUNT,
        ),
    ] = None,
    score: Score = "combined",
    where: Where = None,
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.StoredDataDir = None,
    as_json: o.AsJson = False,
) -> None:
    """Write the data that CELL was trained on to a new folder, without its suspect labels.

    The form stays: class folders, a list with its files, or Parquet. Test images stay, and so do
    images that CELL was not trained on. The data itself is only read. cleaned.csv in the new folder
    says what was done to which image, and why.
    """
    o.load_plugins(plugins)
    from curvetune.cleaning.change import Amount
    from curvetune.cleaning.clean import Wanted, clean
    from curvetune.system.progress import working

    wanted = Wanted(Amount(top, share, above), score, tuple(where or ()), relabel, labels, copies)
    folder, images = o.storage_or_default(storage), o.data_dir_or_default(data_dir)
    with working("ranking the samples and writing the folder", signs(as_json=as_json)):
        done = clean(folder, cell, images, out, wanted)
    if as_json:
        typer.echo(json.dumps(_json(done), indent=1))
        return
    typer.echo(
        f"{out}: {done.removed:,} images left out and {done.relabelled:,} labels changed; "
        f"{done.train:,} images to train on\n"
        f"{out}/cleaned.csv says which and why\n"
        f"next: curvetune data check {out}\n"
        f"      curvetune grid {done.data_name} --data-dir {out}"
    )


def _json(done: "Cleaned") -> dict[str, object]:
    return {
        "schema_version": 1,
        "out": str(done.out),
        "data_name": done.data_name,
        "removed": done.removed,
        "relabelled": done.relabelled,
        "train": done.train,
    }
