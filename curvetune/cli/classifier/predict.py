"""`curvetune predict`: the classes of pictures, by the classifier of a cell."""

import csv
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.errors import SOME_FAILED, ConfigError, DataError, nearest, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from curvetune.classify.files import Looked

FORMS = ("table", "csv")
NAMED = 5  # pictures that are said to be unreadable


def predict(
    cell: Annotated[
        str,
        typer.Argument(metavar="CELL", help="Its id, the first digits of it, or GRID/METHOD."),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Pictures, folders of them, or patterns: '*.jpg'."),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to name.")] = 5,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="table or csv.")] = "table",
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.StoredDataDir = None,
    as_json: o.AsJson = False,
) -> None:
    """Say what is on pictures, with the classifier that CELL has trained.

    Pictures are turned as EXIF says, resized and normalised as the test images of the cell were.
    One that cannot be read is left out and told, and the exit code is then 3.
    """
    if form not in FORMS:
        raise ConfigError(
            f"--format {form!r}: allowed are {', '.join(FORMS)}{nearest(form, FORMS)}"
        )
    if form != "table" and as_json:
        raise ConfigError("--format and --json are two forms; give one of them")
    o.load_plugins(plugins)
    from curvetune.system.progress import working

    with working("loading the classifier", signs(as_json=as_json)):
        from curvetune.classify import classifier_of
        from curvetune.classify.files import find_pictures, look_at

        folder, images = o.storage_or_default(storage), o.data_dir_or_default(data_dir)
        found = find_pictures(paths)
        classifier = classifier_of(folder, cell, images)
    count = min(top, len(classifier.class_names))
    looked = look_at(classifier, found.pictures, count)
    if as_json:
        bad = _print_json(classifier.cell_id, looked)
    elif form == "csv":
        bad = _print_csv(looked, count)
    else:
        bad = _print_table(looked)
    if found.others:
        typer.echo(f"{found.others:,} other files in these folders are no pictures", err=True)
    _tell(bad, len(found.pictures))


def _print_json(cell_id: str, looked: "Iterable[Looked]") -> "list[Looked]":
    images: list[dict[str, Any]] = []
    bad = []
    for one in looked:
        if one.problem is not None:
            bad.append(one)
            continue
        classes = [{"class": name, "probability": p} for name, p in one.top]
        images.append({"image": one.path, "classes": classes})
    unread = [{"image": one.path, "reason": one.problem} for one in bad]
    content = {"schema_version": 1, "cell_id": cell_id, "images": images, "unreadable": unread}
    typer.echo(json.dumps(content, indent=1))
    return bad


def _print_csv(looked: "Iterable[Looked]", count: int) -> "list[Looked]":
    """Print a row for each picture as it is looked at; an unreadable one has empty cells."""
    more = [f"{name}_{k}" for k in range(2, count + 1) for name in ("class", "probability")]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["image", "class", "probability", *more])
    bad = []
    for one in looked:
        cells = [cell for name, p in one.top for cell in (printable(name), f"{p:.6f}")]
        out.writerow([printable(one.path, 4096), *(cells or [""] * 2 * count)])
        if one.problem is not None:
            bad.append(one)
    return bad


def _print_table(looked: "Iterable[Looked]") -> "list[Looked]":
    """Print a row for each picture; nothing is cut."""
    from curvetune.system.tables import Column, Table, print_table
    from curvetune.system.terminal import plain_console

    seen = list(looked)
    rows = [_cells(one) for one in seen if one.problem is None]
    if rows:
        columns = (
            Column("picture", is_key=True, is_left=True),
            Column("class", is_left=True),
            Column("probability"),
            Column("then", is_left=True, is_prose=True),
        )
        print_table(Table(columns, rows), plain_console())
    return [one for one in seen if one.problem is not None]


def _cells(one: "Looked") -> tuple[str, str, str, str]:
    (first, p), *others = one.top
    then = ", ".join(f"{printable(name)} {_percent(p)}" for name, p in others)
    return printable(one.path, 4096), printable(first), f"{_percent(p)} %", then


def _percent(p: float) -> str:
    return f"{100 * p:.1f}"


def _tell(bad: "Sequence[Looked]", wanted: int) -> None:
    """Say on standard error what could not be read, and end with the code for it."""
    if not bad:
        return
    lines = [f"  {printable(one.path, 4096)}: {one.problem}" for one in bad[:NAMED]]
    more = [f"  and {len(bad) - NAMED:,} more"] if len(bad) > NAMED else []
    what = "\n".join([f"{len(bad):,} of {wanted:,} pictures cannot be read:", *lines, *more])
    if len(bad) == wanted:
        raise DataError(what)
    typer.echo(what, err=True)
    raise typer.Exit(SOME_FAILED)
