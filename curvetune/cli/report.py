"""`curvetune status` and `curvetune report`: what the storage says; they change nothing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from curvetune.cli import options as o
from curvetune.cli.process.streams import write_data
from curvetune.errors import ConfigError, nearest, printable

if TYPE_CHECKING:
    from curvetune.analysis.significance import Unit
    from curvetune.grids.cells import Select
    from curvetune.report.document import Document

SCHEMA_VERSION = 1


def status(
    grid: Annotated[
        str | None, typer.Argument(metavar="[GRID]", help="One grid; all of them unless given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--watch", help="Show it until the grid is complete, or until Ctrl-C.")
    ] = False,
    every_s: Annotated[
        float,
        typer.Option(
            "--every", metavar="SECONDS", min=0.2, help="Time between two looks of --watch."
        ),
    ] = 2.0,
    only_last: o.OnlyLast = False,
    storage: o.Storage = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="URL",
            help="Show the jobs of `submit` on a cluster: the dashboard, http://HEAD:8265.",
        ),
    ] = None,
    insecure: o.Insecure = False,
    as_json: o.AsJson = False,
) -> None:
    """Show which cells of GRID are done, running, failed, stale or waiting, also while it runs.

    A stale cell was begun and left: its process is gone. A paused one waits with a checkpoint,
    since `tune --scheduler asha` went on with others. Without GRID, show how far every grid in
    the storage is.
    """
    if address is not None:
        from curvetune.cli.submit import show_jobs

        if follow:
            raise ConfigError("--watch: with --address, `curvetune logs -f` follows a job")
        show_jobs(address, grid, storage, insecure=insecure, as_json=as_json)
        return
    folder = o.storage_or_default(storage)
    if grid is None:
        if follow:
            raise ConfigError("--watch needs a GRID; `curvetune status` lists those there are")
        if only_last:
            raise ConfigError("--only-last needs a GRID; `curvetune status` lists those there are")
        _status_of_all(folder, as_json=as_json)
        return
    grid = o.part_of(grid, only_last=only_last)
    if follow:
        from curvetune.status.watch import watch

        watch(folder, grid, every_s=every_s, given_storage=storage, as_json=as_json)
        return
    from curvetune.grids.activity import grid_progress
    from curvetune.grids.cells import read_grid
    from curvetune.status.table import print_status, progress_json

    progress = grid_progress(read_grid(folder, grid))
    if as_json:
        from curvetune.system.json_text import json_text

        typer.echo(json_text(progress_json(progress, folder, storage)))
        return
    from curvetune.system.terminal import plain_console

    print_status(progress, plain_console(), folder, storage)


def report(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="TABLE",
            help="ma (with intervals), cells, seeds, classes or significance; else MA and every "
            "setting.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            help="table, or as text: markdown, csv, json, latex, html.",
        ),
    ] = "table",
    select: Annotated[
        str,
        typer.Option(
            "--select",
            metavar="WHICH",
            help="Accuracy of the last epoch; last10: the mean of ten; best: the best epoch on the "
            "test set, as in the paper.",
        ),
    ] = "last",
    reference: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="METHOD",
            help="With --table significance: compare with this method instead of cross entropy; "
            "`all` compares every two.",
        ),
    ] = None,
    unit: Annotated[
        str,
        typer.Option(
            "--unit",
            metavar="UNIT",
            help="With --table significance: what counts as one experiment. pair: a setting and a "
            "seed; setting: the seeds of each setting averaged first.",
        ),
    ] = "pair",
    published: Annotated[
        bool | None,
        typer.Option(
            "--published/--no-published",
            help="Put published numbers beside ours. --paper does so unless switched off.",
        ),
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            "--paper",
            metavar="TABLE",
            help="Laid out as the paper's Table 1, 2, 3, 6, 7, 8, 9 or 10.",
        ),
    ] = None,
    page: o.Html = None,
    only_last: o.OnlyLast = False,
    data_dir: o.StoredDataDir = None,
    storage: o.Storage = None,
    plugins: o.Plugins = None,
    as_json: o.AsJson = False,
) -> None:
    """Show the mean accuracy (MA) of every method of GRID, and its accuracy in every setting.

    The page of --html has tables, charts, every cell, and its suspect labels.
    """
    chosen, grid = selected(select), o.part_of(grid, only_last=only_last)
    if page is not None:
        _write_page(grid, page, chosen, o.storage_or_default(storage), data_dir)
        return
    kinds = {"--table": table is not None, "--paper": paper is not None}
    kinds["--published"] = bool(published) and paper is None
    if sum(kinds.values()) > 1:
        given = [name for name, on in kinds.items() if on]
        raise ConfigError(f"{' and '.join(given)} are different tables; give one of them")
    if reference is not None and table != "significance":
        raise ConfigError("--against METHOD belongs to --table significance; add that")
    counted = unit_of(unit, table)
    o.load_plugins(plugins)
    form = "json" if as_json else form
    folder = o.storage_or_default(storage)
    if not any(kinds.values()):
        _print_both(folder, grid, form, chosen)
        return
    from curvetune.grids.cells import read_grid

    found = read_grid(folder, grid)
    if paper is not None:
        from curvetune.report.tables.paper import paper_document

        shown = paper_document(folder, found, paper, chosen, published=published is not False)
    elif table is not None:
        from curvetune.report.tables.detail import table as table_of

        shown = table_of(folder, found, table, chosen, reference, counted)
    else:
        from curvetune.report.published.table import published_document

        shown = published_document(found, chosen)
    print_form(shown, form)


def unit_of(text: str, table: str | None) -> "Unit":
    """Return what counts as one experiment.

    Raises:
        ConfigError: it is no such thing, or the table has no use for it.
    """
    if text == "setting" and table == "significance":
        return "setting"
    if text not in ("pair", "setting"):
        raise ConfigError(f"--unit {printable(text)!r}: allowed are pair, setting")
    if text == "setting":
        raise ConfigError("--unit setting belongs to --table significance; add that")
    return "pair"


def _write_page(
    grid: str, out: Path, select: "Select", storage: Path, data_dir: Path | None
) -> None:
    """Write the page of a grid, and say how large it is."""
    from curvetune.cli.run import signs
    from curvetune.report.pages.grid import write_html
    from curvetune.system.progress import working

    with working("making the page", signs()) as told:
        size = write_html(storage, grid, out, select, o.data_dir_or_default(data_dir), told)
    tell_page(out, size)


def write_page(out: Path, page: str) -> None:
    """Write a page to a file, and say where it is and how large."""
    from curvetune.store.files import write_atomic

    content = page.encode("utf-8", "replace")
    write_atomic(out, content, durable=False)
    tell_page(out, len(content))


def tell_page(out: Path, size: int) -> None:
    """Say where a page is, and how large."""
    typer.echo(out)
    typer.echo(f"{size / 1e6:.1f} MB; it needs no network", err=True)


def print_form(shown: "Document", form: str) -> None:
    """Print tables to the terminal, or as text in another form."""
    from curvetune.report.document import FORMS, check_form, print_document

    if form != "table":
        check_form(form)
        write_data(FORMS[form](shown))
        return
    from curvetune.system.terminal import plain_console

    print_document(shown, plain_console())


def selected(select: str) -> "Select":
    """Return `select` as a kind of accuracy, or refuse it."""
    from curvetune.grids.cells import ACCURACY

    if select not in ACCURACY:
        raise ConfigError(
            f"--select {select!r}: allowed are {', '.join(ACCURACY)}{nearest(select, ACCURACY)}"
        )
    return cast("Select", select)


def _print_both(storage: Path, grid: str, form: str, select: "Select") -> None:
    """Print MA and the settings: the report without options."""
    from curvetune.report.tables.main import print_report, render

    if form != "table":
        write_data(render(storage, grid, form, select))
        return
    from curvetune.system.terminal import plain_console

    print_report(storage, grid, plain_console(), select)


def _status_of_all(storage: Path, *, as_json: bool) -> None:
    """Show how many cells of each grid are in which state."""
    from curvetune.grids.cells import read_grid
    from curvetune.store import CellStore

    store = CellStore(storage)
    names = [one for name in store.grids() for one in (name, *store.kept(name))]
    counts = {name: read_grid(storage, name).counts() for name in names}
    if as_json:
        grids = [{"grid": name, **states} for name, states in counts.items()]
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "grids": grids}, indent=1))
        return
    if not counts:
        typer.echo(f"no grid in {storage} yet; `curvetune grid digits` makes one", err=True)
        return
    from curvetune.system.tables import Column, Table, print_table
    from curvetune.system.terminal import plain_console

    columns = [Column("grid", is_key=True, is_left=True), Column("cells")]
    states = dict.fromkeys(state for found in counts.values() for state in found)
    columns += [Column(state) for state in states]
    rows = [
        (name, str(sum(found.values())), *(str(found.get(state, 0)) for state in states))
        for name, found in counts.items()
    ]
    print_table(Table(columns, rows), plain_console())
