"""`curvetune retry`: the failed cells of a grid, once more."""

from typing import Annotated

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.groups import with_groups
from curvetune.cli.run import run_and_tell, tell
from curvetune.errors import FAILURE_KINDS, ConfigError, nearest
from curvetune.places import Places, Telling
from curvetune.planning.resources import LaunchOptions


@with_groups(places=groups.places, telling=groups.telling, launch=groups.launch)
def retry(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    failed_as: Annotated[
        str,
        typer.Option(
            "--failed-as",
            metavar="KIND,KIND",
            help=f"Only these kinds of failure: {', '.join(FAILURE_KINDS)}.",
            rich_help_panel=o.WHAT,
        ),
    ] = "",
    plugins: o.Plugins = None,
    *,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Run the failed cells of GRID again, and no others, and show the mean accuracies.

    How they run may differ from last time: --gpus-per-trial 1 helps after `oom` (out of memory).
    What they compute does not differ. The grid stays as its own command recorded it.
    """
    from curvetune.run import make_retry

    kinds = parse_kinds(failed_as)
    o.load_plugins(plugins)
    run_and_tell(lambda: make_retry(grid, kinds, places), places, telling, launch, as_json=as_json)
    _tell_what_is_left(grid, places)


def parse_kinds(text: str) -> list[str]:
    """Return the kinds of failure that "oom,hang" stands for; none for an empty text.

    Raises:
        ConfigError: there is no such kind.
    """
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    for kind in kinds:
        if kind not in FAILURE_KINDS:
            raise ConfigError(
                f"--failed-as {kind!r}: allowed are {', '.join(FAILURE_KINDS)}"
                f"{nearest(kind, FAILURE_KINDS)}"
            )
    return kinds


def _tell_what_is_left(grid: str, places: Places) -> None:
    """Say which cells of the grid were not asked for and are not done."""
    from curvetune.grids.cells import read_grid

    found = read_grid(places.storage, grid)
    left = {s: n for s, n in found.counts().items() if n and s not in ("done", "paused")}
    if left:
        words = ", ".join(f"{n} {state}" for state, n in left.items())
        tell(f"{grid}: other cells are not done: {words}. To run them:")
        tell(f"  {found.command}")
