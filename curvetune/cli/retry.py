"""`curvetune retry`: the failed cells of a grid, once more."""

from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.run import Places, run_plan
from curvetune.errors import ConfigError, nearest

if TYPE_CHECKING:
    from curvetune.planning.plan import Plan


def retry(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    failed_as: Annotated[
        str,
        typer.Option(
            "--failed-as",
            metavar="KIND,KIND",
            help="Only these kinds of failure: oom, diverged, hang, lost, import, bad-data, "
            "disk-full, storage or other.",
            rich_help_panel=o.WHAT,
        ),
    ] = "",
    data_dir: o.DataDir = None,
    on_bad: o.OnBad = "fail",
    storage: o.Storage = None,
    tracking_uri: o.TrackingUri = None,
    notify: o.Notify = None,
    address: o.Address = None,
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    checkpoint_every: o.CheckpointEvery = 5,
    hang_after: o.HangAfter = 3600.0,
    as_json: o.AsJson = False,
) -> None:
    """Run the failed cells of GRID again, and no others, and show the mean accuracies.

    How they run may differ from last time, e.g. --gpus-per-trial 1 after `oom`; what they compute
    does not. The grid stays as its own command recorded it.
    """
    kinds = parse_kinds(failed_as)
    launch = o.parse_launch(
        address, gpus_per_trial, cpus_per_trial, max_concurrent, checkpoint_every, hang_after
    )
    places = Places(
        o.data_dir_or_default(data_dir), o.storage_or_default(storage), tracking_uri, notify, on_bad
    )
    run_plan(lambda: _plan(grid, kinds, places), places, launch, as_json=as_json)
    _tell_what_is_left(grid, places)


def parse_kinds(text: str) -> list[str]:
    """Return the kinds of failure that "oom,hang" stands for; none for an empty text.

    Raises:
        ConfigError: there is no such kind.
    """
    from curvetune.status.failures import KINDS

    kinds = [word.strip() for word in text.split(",") if word.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(
                f"--failed-as {kind!r}: allowed are {', '.join(KINDS)}{nearest(kind, KINDS)}"
            )
    return kinds


def _plan(grid: str, kinds: list[str], places: Places) -> "Plan":
    from curvetune.planning.retry import plan_retry
    from curvetune.store import CellStore, CurveStore

    store = CellStore(places.storage)
    plan = plan_retry(
        grid,
        store.read_grid(grid),
        failed_as=kinds,
        is_done=lambda cell_id: store.result(cell_id) is not None,
        failure=store.failure,
        has_probe=CurveStore(places.storage).has,
    )
    if plan.cells:
        _check_data(plan, places)
    return plan


def _check_data(plan: "Plan", places: Places) -> None:
    """Refuse other data than the grid's: what comes of it would be another cell.

    Raises:
        ConfigError: its content is another.
    """
    from curvetune.cli.images import images_of

    name = plan.cells[0].config.data.name
    digest = images_of(plan.cells[0].config.data, places).digest(places.data_dir)
    if digest != plan.digest:
        raise ConfigError(
            f"the data in {places.data_dir or 'the default place'} is not what grid {plan.name!r} "
            f"was run on (digest {digest[:12]}, not {plan.digest[:12]}); give the folder of that "
            f"{name} with --data-dir"
        )


def _tell_what_is_left(grid: str, places: Places) -> None:
    """Say which cells of the grid were not asked for and are not done."""
    from curvetune.grids.cells import read_grid

    found = read_grid(places.storage, grid)
    left = {state: n for state, n in found.counts().items() if n and state != "done"}
    if left:
        words = ", ".join(f"{n} {state}" for state, n in left.items())
        typer.echo(f"{grid}: other cells are not done: {words}. To run them:", err=True)
        typer.echo(f"  {found.command}", err=True)
