"""`curvetune methods`, `curvetune options` and `curvetune ui`."""

import json
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from curvetune.cli import options as o
from curvetune.errors import BackendError, ConfigError, nearest, printable

SCHEMA_VERSION = 1
MOST_GRIDS = 10  # whose addresses are printed


def methods(plugins: o.Plugins = None, as_json: o.AsJson = False) -> None:
    """List the methods: what each needs, and how long it trains compared with cross entropy.

    Those of plugins are among them: of --plugin, and of packages that are installed.
    """
    from curvetune.plugins.load import load_installed

    load_installed()
    o.load_plugins(plugins)
    found = [describe(name) for name in _sections()]
    if as_json:
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "methods": found}, indent=1))
        return
    from curvetune.system.tables import Column, Table, print_table
    from curvetune.system.terminal import plain_console

    columns = [
        Column("method", is_key=True, is_left=True),
        Column("what it does", is_left=True, is_prose=True),
        Column("needs", is_left=True, is_prose=True),
        Column("time"),
    ]
    rows = [
        (m["name"], f"{m['description']}\n{m['source']}", needs(m), f"{m['cost']}×") for m in found
    ]
    print_table(Table(columns, rows), plain_console())
    typer.echo("\ntime: of the allocate stage, relative to cross entropy; a probe comes on top")


def options(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[METHOD|SECTION|KEY]",
            help="A method; data, bias, model, probe, allocate or seed; or one option, such as "
            "milestones. An overview unless given.",
        ),
    ] = None,
    plugins: o.Plugins = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All of them as a page in Markdown.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """List what a space and --set can say: every option with its type, limits, default and meaning.

    Options of plugins are among them: of --plugin, and of packages that are installed.
    """
    from curvetune.plugins.load import load_installed

    load_installed()
    o.load_plugins(plugins)
    from curvetune.config.manual import chapter, chapters

    if markdown and (as_json or name is not None):
        raise ConfigError("--markdown is the page of all options; give it alone")
    chosen = chapters() if name is None else [chapter(name)]
    if as_json:
        found = [one.to_json() for one in chosen]
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "chapters": found}, indent=1))
        return
    from curvetune.report import manual

    if markdown:
        typer.echo("\n".join(manual.page()))
        return
    for line in manual.overview() if name is None else manual.lines(chosen[0]):
        _print_wrapped(line)


def _print_wrapped(line: str) -> None:
    """Print a line: wrapped where a terminal ends, indented as it begins; whole into a pipe."""
    from rich.padding import Padding

    from curvetune.system.terminal import plain_console

    console = plain_console(highlight=False)
    if not console.is_terminal:
        typer.echo(line)
        return
    text = line.lstrip(" ")
    console.print(Padding(text, (0, 0, 0, len(line) - len(text))))


def ui(
    storage: o.Storage = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens.")] = 5000,
    grid: Annotated[
        str | None,
        typer.Option("--grid", metavar="GRID", help="The grid to show; the latest unless given."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser as soon as it is there.")
    ] = False,
) -> None:
    """Show the grids of the storage in MLflow's own pages, on this machine only.

    Once the server answers, the address of the grid's methods by MA is printed, and that of the
    picture of MA with error bars. Ctrl-C ends the server.
    """
    folder = o.storage_or_default(storage).absolute()
    from curvetune.tracking.base import ARTIFACTS, DATABASE, default_uri
    from curvetune.tracking.server import HOST, STOPPED, serve, server_command

    if not (folder / DATABASE).exists():
        raise ConfigError(
            f"{folder} has no {DATABASE} yet: run a grid first, for instance `curvetune grid "
            f"digits`, make it anew with `curvetune sync` if it was deleted, or give its folder "
            f"with --storage (grids that were tracked by a server are shown there)"
        )
    uri = default_uri(folder)
    _bring_along(folder)
    url = f"http://{HOST}:{port}"
    pages = _pages(folder / DATABASE, url, grid)
    typer.echo(f"MLflow starts at {url} (Ctrl-C ends it)", err=True)

    def ready() -> None:
        for what, page in pages:
            typer.echo(f"{what}: {page}")
        sys.stdout.flush()
        if browser:
            webbrowser.open(pages[0][1])

    code = serve(server_command(uri, (folder / ARTIFACTS).as_uri(), port), url, ready)
    if code not in (0, *STOPPED):
        raise BackendError(
            f"the MLflow server ended with code {code}; what it said is above. If port {port} is "
            f"taken, choose another with --port"
        )


def _pages(database: Path, url: str, wanted: str | None) -> list[tuple[str, str]]:
    """Return what there is to see, and its address; what is wanted first.

    Raises:
        ConfigError: there is no grid `wanted`.
    """
    from curvetune.tracking.base import GRID_TAG
    from curvetune.tracking.lookup import find_grids
    from curvetune.tracking.sync.share import METHODS, PICTURE, TAG, share_key

    key = share_key(METHODS)
    grids = find_grids(database, GRID_TAG, TAG + key)
    if wanted is not None:
        names = [grid.name for grid in grids]
        if wanted not in names:
            raise ConfigError(
                f"--grid {printable(wanted)!r}: MLflow has no such grid{nearest(wanted, names)}; "
                f"it has: {', '.join(names) or 'none'}; `curvetune sync {printable(wanted)}` "
                f"sends it"
            )
        grids.sort(key=lambda grid: grid.name != wanted)
    pages = []
    for grid in grids[:MOST_GRIDS]:
        name = printable(grid.name)
        pages.append((f"{name}, {METHODS}", url + grid.page(key)))
        pages.append((f"{name}, with error bars", f"{url}{grid.run_page}/artifacts/{PICTURE}"))
    return pages or [("no grid yet", url)]


def _bring_along(folder: Path) -> None:
    """Let the database of a storage that was moved name its files where they are now."""
    import sqlite3

    from curvetune.tracking.base import DATABASE
    from curvetune.tracking.moved import bring_along, moved_words

    database = folder / DATABASE
    try:
        if moved := bring_along(database, folder):
            typer.echo(moved_words(database, moved, folder), err=True)
    except sqlite3.Error as error:
        typer.echo(
            f"{database}: if the storage was moved, its files are not shown ({error})", err=True
        )


def describe(name: str) -> dict[str, Any]:
    """Return what is known of a method without building it."""
    section = _sections()[name]
    from curvetune.config.plugins import PLUGINS

    plugin = PLUGINS.methods.get(name)
    return {
        "name": name,
        **({"plugin": plugin.ref.model_dump()} if plugin is not None else {}),
        "description": (section.__doc__ or "").partition("\n")[0],
        "source": section.source,
        "needs_probe": section().needs_probe,
        "needs_meta_set": section().meta_set is not None,
        "needs_noise_rate": section.needs_noise_rate,
        "cost": section.cost,
    }


def needs(method: dict[str, Any]) -> str:
    """Return in words what a method needs beside the training set."""
    words = {
        "needs_probe": "probe",
        "needs_meta_set": "clean set",
        "needs_noise_rate": "noise rate",
    }
    return ", ".join(word for key, word in words.items() if method[key]) or "–"


def _sections() -> dict[str, Any]:
    from curvetune.config import METHOD_SECTIONS

    return METHOD_SECTIONS
