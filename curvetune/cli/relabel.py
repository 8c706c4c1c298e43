"""`curvetune relabel`: a grid on corrected labels, and what that gains."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.groups import with_groups
from curvetune.cli.report import print_form, selected, write_page
from curvetune.cli.run import run_and_tell, signs, tell
from curvetune.places import Places, Telling
from curvetune.planning.resources import LaunchOptions

if TYPE_CHECKING:
    from curvetune.grids.cells import Select
    from curvetune.planning.plan import Plan
    from curvetune.relabelling import Relabelled


@with_groups(places=groups.places, telling=groups.telling, launch=groups.launch)
def relabel(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS.csv",
            help="Columns sample,label: an index or a file as `suspects` lists it, and a class.",
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say which cells change, and what they cost.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
    select: o.Select = "last",
    page: o.Html = None,
    plugins: o.Plugins = None,
    *,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Correct labels of GRID's data, run the cells that change, and show what it gains.

    A new grid comes of it, called GRID-relabelled-DIGEST. It differs in the corrected labels only,
    so each cell and what became of it are a pair. Run the same command again to go on after an
    interruption. `curvetune suspects CELL --format labels` writes a list to fill in. The page of
    --html has the table of what it gains.
    """
    from curvetune.relabelling import make_relabel
    from curvetune.report.document import as_html
    from curvetune.report.relabel import gain_document
    from curvetune.system.progress import working

    chosen = selected(select)
    o.load_plugins(plugins)
    with working("looking at the images and the storage", signs(as_json=as_json)):
        found = make_relabel(grid, labels, places, tell)
    if found.what.empty:
        tell(f"{labels}: {found.what.empty} rows have no label, so they change nothing")
    if dry_run:
        _print_cost(found, places, launch, as_json=as_json)
        return
    if not found.what.changed:
        _print_effect(found, places.storage, as_json=as_json)
        tell(f"{grid}: no label of its training sets changes, so there is nothing to run")
        return

    def kept() -> "Plan":
        found.keep(places.storage)
        return found.plan

    def show(plan: "Plan") -> None:
        _print_gain(found, places.storage, chosen, as_json=as_json)
        if page is not None:
            write_page(page, as_html(gain_document(places.storage, found.what, chosen)))

    run_and_tell(kept, places, telling, launch, as_json=as_json, show=show)


def _print_cost(
    found: "Relabelled", places: Places, launch: LaunchOptions, *, as_json: bool
) -> None:
    """Print what changes, and what the new cells cost."""
    from curvetune.pricing import price_plan

    price = price_plan(found.plan, places, launch, tell=tell)
    if as_json:
        from curvetune.report.relabel import relabel_json

        more = {"plan": found.plan.counts(), "price": price.to_json()}
        typer.echo(json.dumps({**relabel_json(found.what), **more}, indent=1))
        return
    from curvetune.run import what_starts
    from curvetune.status.price_table import print_price
    from curvetune.system.terminal import plain_console

    _print_effect(found, places.storage, as_json=False)
    typer.echo(f"\n{what_starts(found.plan)}")
    print_price(price, plain_console())


def _print_effect(found: "Relabelled", storage: Path, *, as_json: bool) -> None:
    from curvetune.report.relabel import effect_document, relabel_json

    if as_json:
        typer.echo(json.dumps(relabel_json(found.what), indent=1))
        return
    print_form(effect_document(storage, found.what), "table")


def _print_gain(found: "Relabelled", storage: Path, select: "Select", *, as_json: bool) -> None:
    from curvetune.report.relabel import gain_document, relabel_json

    shown = gain_document(storage, found.what, select)
    if as_json:
        from curvetune.report.document import document_json

        gain = {key: document_json(shown)[key] for key in ("schema_version", "rows", "notes")}
        typer.echo(json.dumps({**relabel_json(found.what), **gain}, indent=1))
        return
    print_form(shown, "table")
