"""`curvetune submit`, `logs` and `stop`: grids as jobs of a Ray cluster that HTTP reaches."""

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.groups import Typed, with_groups
from curvetune.cli.run import tell
from curvetune.errors import INTERRUPTED, PREEMPTED, ConfigError

if TYPE_CHECKING:
    from curvetune.jobs.client import Jobs
    from curvetune.jobs.job import Job
    from curvetune.jobs.submission import Where

# Options of `grid` that mean something else where the grid runs elsewhere.
OTHERS = ("storage", "data_dir", "address")
LAST_LINES = 10  # of a log

Dashboard = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The dashboard of the cluster's head: http://HEAD:8265 or https://HEAD.",
        rich_help_panel=o.WHERE,
    ),
]
Which = Annotated[str, typer.Argument(metavar="GRID|ID", help="A grid, or the id of a job.")]


@with_groups(
    typed=groups.typed(groups.choice, groups.places, groups.telling, groups.launch, without=OTHERS)
)
def submit(
    space: o.Space,
    *,
    typed: Typed,
    address: Dashboard,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="Folder of the results, which all nodes share, or s3://BUCKET/PREFIX; else "
            "CURVETUNE_STORAGE.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", help="Folder with the images, on the head.", rich_help_panel=o.WHERE
        ),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME=VALUE",
            help="A variable for the grid, which is no secret. Can be given again.",
            rich_help_panel=o.HOW,
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return once it is sent.", rich_help_panel=o.HOW)
    ] = False,
    insecure: o.Insecure = False,
) -> None:
    """Run `grid SPACE` as a job of a Ray cluster, and follow it to its end.

    The space, the plugins and curvetune itself travel; results and images do not. The same command
    again follows what runs already. Ctrl-C ends the following, and not the grid.
    """
    from curvetune.jobs.find import attach_or_send
    from curvetune.jobs.submission import make_order

    typed.of(groups.launch)
    selection, where = typed.of(groups.choice).of(space), _where(storage, data_dir, typed)
    options = typed.arguments(without=("plugins", *_of_this_machine(typed)))
    with tempfile.TemporaryDirectory(prefix="curvetune-") as folder:
        order = make_order(Path(folder), selection, where, options, variables or (), sys.argv[1:])
        jobs = _jobs(address, insecure=insecure)
        job, is_new = attach_or_send(jobs, order)
    if is_new:
        tell(f"sent as {job.job_id}")
    else:
        _tell_attached(job, order.about)
    if no_wait:
        tell(_to_go_on(job, jobs))
        return
    _follow(jobs, job)


def logs(
    which: Which,
    *,
    address: Dashboard,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it ends; exit as the grid does.")
    ] = False,
    insecure: o.Insecure = False,
) -> None:
    """Show what a job of `submit` has printed."""
    from curvetune.jobs.find import find
    from curvetune.system.redact import redact

    jobs = _jobs(address, insecure=insecure)
    job = find(jobs.all(), which)
    if follow:
        _follow(jobs, job)
    else:
        typer.echo(redact(jobs.logs(job.job_id)), nl=False)


def stop(which: Which, *, address: Dashboard, insecure: o.Insecure = False) -> None:
    """Stop a job of `submit`: running cells end their epoch and keep a checkpoint.

    It returns once the job has ended. The same `submit` again goes on from there.
    """
    from curvetune.jobs.find import find
    from curvetune.jobs.follow import wait_for_end
    from curvetune.jobs.submission import STOP_WAIT_S

    jobs = _jobs(address, insecure=insecure)
    job = find(jobs.all(), which)
    if job.has_ended:
        tell(f"{job.job_id} does not run: {job.state}")
        return
    jobs.stop(job.job_id)
    tell(
        f"stopping {job.job_id}: running cells end their epoch and keep a checkpoint, for "
        f"{STOP_WAIT_S:g} s at most"
    )
    with _let_go(job, jobs):
        job = wait_for_end(jobs, job.job_id, STOP_WAIT_S)
    tell(f"{job.job_id}: {job.state}. To go on, run again:\n  {job.command}")


def show_jobs(
    address: str, which: str | None, storage: Path | None, *, insecure: bool, as_json: bool
) -> None:
    """Print the jobs of a cluster, or those of a grid with what its storage says.

    Args:
        storage: where this machine finds the storage; else where the cluster does.
    """
    import json

    from curvetune.jobs.find import find
    from curvetune.jobs.table import jobs_json, jobs_table
    from curvetune.system.tables import print_table
    from curvetune.system.terminal import plain_console

    jobs = _jobs(address, insecure=insecure)
    found = jobs.all()
    job = None if which is None else find(found, which)
    if job is not None:
        found = [other for other in found if other.grid == job.grid]
    if as_json:
        typer.echo(json.dumps(jobs_json(found, jobs.head.address), indent=1))
        return
    if not found:
        tell(f"{jobs.head.address}: no job of `curvetune submit` yet")
        return
    print_table(jobs_table(found), plain_console())
    if job is not None:
        _show_one(jobs, job, storage)


def _show_one(jobs: "Jobs", job: "Job", storage: Path | None) -> None:
    """Print what sent a job, and how far its grid is: by the storage, else by the job's log."""
    from curvetune.grids.activity import grid_progress
    from curvetune.grids.cells import read_grid
    from curvetune.status.table import print_status
    from curvetune.store import CellStore
    from curvetune.system.redact import redact
    from curvetune.system.terminal import plain_console

    console = plain_console()
    console.print(f"\n{job.job_id}\n  {job.command}", highlight=False, soft_wrap=True)
    folder = storage or Path(job.storage)
    if folder.is_dir() and job.grid in CellStore(folder).grids():
        console.print(f"{folder}, as this machine sees it:\n", highlight=False, soft_wrap=True)
        print_status(grid_progress(read_grid(folder, job.grid)), console, folder, folder)
        return
    tell(f"its storage, {job.storage}, is not reached from here (--storage says where it is)")
    for line in redact(jobs.logs(job.job_id)).splitlines()[-LAST_LINES:]:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _jobs(address: str, *, insecure: bool) -> "Jobs":
    from curvetune.jobs.head import reach

    head = reach(address, insecure=insecure, tell=tell)
    from curvetune.jobs.client import Jobs  # with Ray, which takes a second

    return Jobs(head)


def _where(storage: str | None, data_dir: str | None, typed: Typed) -> "Where":
    from curvetune.jobs.submission import Where

    if storage is None:
        known = o.storage_or_default(None)
        if not known.is_absolute():
            raise ConfigError(
                "--storage is needed: a folder that all nodes of the cluster share, by its "
                "absolute path, or an object store: s3://BUCKET/PREFIX"
            )
        storage = str(known)
    return Where(storage, data_dir, typed.values["on_bad"])


def _of_this_machine(typed: Typed) -> tuple[str, ...]:
    """Return the parameters that a variable of this machine has set, and that mean nothing there.

    MLFLOW_TRACKING_URI may be a database here; the address of a server is one everywhere.
    """
    import os

    uri = typed.values["tracking_uri"]
    if uri is None or uri != os.environ.get("MLFLOW_TRACKING_URI") or "://" in uri:
        return ()
    tell("MLFLOW_TRACKING_URI is a folder of this machine, and is not sent")
    return ("tracking_uri",)


def _tell_attached(job: "Job", about: dict[str, str]) -> None:
    from curvetune.jobs.names import CODE

    tell(f"{job.job_id} is this grid and was sent before; following it. It was sent as:")
    tell(f"  {job.command}")
    if job.about.get(CODE) != about[CODE]:
        tell("it runs other code than this: to change that, `curvetune stop` it and send it again")


def _follow(jobs: "Jobs", job: "Job") -> None:
    """Show a job to its end, and exit as it does."""
    from curvetune.jobs.follow import ending, exit_code, follow

    with _let_go(job, jobs):
        job = follow(jobs, job.job_id, lambda text: typer.echo(text, nl=False), tell)
    if words := ending(job):
        tell(words)
    if code := exit_code(job):
        raise typer.Exit(code)


@contextlib.contextmanager
def _let_go(job: "Job", jobs: "Jobs") -> Iterator[None]:
    """Let a signal end the block, with the commands by which to come back."""
    terminated = False

    def on_term(_number: int, _frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        yield
    except KeyboardInterrupt:
        tell(f"\nnot followed any more. {_to_go_on(job, jobs)}")
        raise typer.Exit(PREEMPTED if terminated else INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _to_go_on(job: "Job", jobs: "Jobs") -> str:
    """Return how to hear of a job again."""
    at = f"{job.job_id} --address {jobs.head.address}"
    return f"The grid goes on there:\n  curvetune logs -f {at}\n  curvetune stop {at}"
