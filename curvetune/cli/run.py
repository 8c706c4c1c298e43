"""What the commands that run cells print, and with which code they exit.

What Ctrl-C and other signals do to the cells is in tune/stopping.py.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from curvetune.cli.process import streams
from curvetune.errors import INTERRUPTED, PREEMPTED, SOME_FAILED
from curvetune.jobs.names import SUBMITTED
from curvetune.places import Places, Telling
from curvetune.system import redact

if TYPE_CHECKING:
    from rich.console import Console

    from curvetune.planning.plan import Plan, PlannedCell
    from curvetune.planning.resources import LaunchOptions
    from curvetune.run import Outcome
    from curvetune.store import CellStore


def tell(line: str) -> None:
    """Say something on stderr, which is for people."""
    typer.echo(line, err=True)


def signs(*, as_json: bool = False) -> "Console | None":
    """Return where signs of life go (system/progress.py): to stderr; nowhere for a program."""
    from curvetune.system.terminal import plain_console

    return None if as_json else plain_console(stderr=True)


def run_and_tell(
    make: Callable[[], "Plan"],
    places: Places,
    telling: Telling,
    options: "LaunchOptions",
    *,
    as_json: bool,
    time_steps: bool = False,
    show: Callable[["Plan"], None] | None = None,
) -> None:
    """Run a plan, show how it came out, and exit with a code that says so.

    Args:
        show: shows it; the report of the plan's grid unless given.
    """
    from curvetune.run import run_plan
    from curvetune.store import CellStore

    def made() -> "Plan":
        plan = make()
        streams.only_shown()  # from here on the results are in the storage
        return plan

    plan, outcome = run_plan(
        made,
        places,
        telling,
        options,
        command=command_line(),
        tell=tell,
        console=signs(),
        time_steps=time_steps,
    )
    if outcome.finished and show is not None:
        show(plan)
    elif outcome.finished:
        _print_report(plan.name, places.storage, as_json=as_json)
        _tell_of_more(plan, places.storage)
    if outcome.finished and not as_json:
        _tell_what_is_next(plan.name, places.storage)
    exit_for(plan, CellStore(places.storage), outcome)


def command_line() -> str:
    """Return the command that runs, as it can be typed again (but for secrets).

    In a job of `submit` it is that command, which is what to type where it was typed.
    """
    return os.environ.get(SUBMITTED) or redact.command(sys.argv[1:])


def _print_report(name: str, storage: Path, *, as_json: bool) -> None:
    if as_json:
        from curvetune.report.tables.main import report_json
        from curvetune.system.json_text import json_text

        typer.echo(json_text(report_json(storage, name)))
        return
    from curvetune.system.progress import working
    from curvetune.system.terminal import plain_console

    with working("making the report", signs()):
        from curvetune.report.tables.main import print_report

    print_report(storage, name, plain_console())


def _tell_what_is_next(name: str, storage: Path) -> None:
    from curvetune.grids.cells import read_grid
    from curvetune.status.next_steps import next_lines

    for line in next_lines(read_grid(storage, name), storage, command_line()):
        tell(line)


def _tell_of_more(plan: "Plan", storage: Path) -> None:
    """Say so if the tables have cells of earlier commands, which this one did not ask for."""
    from curvetune.store import CellStore

    known = len(CellStore(storage).read_grid(plan.name)["cells"])
    if not plan.is_part and known > len(plan.cells):
        tell(
            f"{plan.name}: the tables have all {known} cells of its commands; of the "
            f"{len(plan.cells)} of this one alone: curvetune report {plan.name} --only-last"
        )


def exit_for(plan: "Plan", store: "CellStore", outcome: "Outcome") -> None:
    """List what is not done, and exit with the code for it; return if all is done."""
    lacking = outcome.lacking
    if not outcome.finished:
        word = "preempted" if outcome.preempted else "interrupted"
        tell(
            f"{word}; {len(lacking)} of {len(plan.cells)} cells are not done. To go on, run "
            f"the same command again:\n  {command_line()}"
        )
        raise typer.Exit(PREEMPTED if outcome.preempted else INTERRUPTED)
    if lacking:
        tell(f"{len(lacking)} of {len(plan.cells)} cells failed:")
        lines = [_failure(plan, cell, store) for cell in lacking]
        tell("\n".join([*lines, f"to try them again: {command_line()}"]))
        raise typer.Exit(SOME_FAILED)


def _failure(plan: "Plan", cell: "PlannedCell", store: "CellStore") -> str:
    """Return which cell failed, why, and where its log is."""
    from curvetune.grids.labels import setting_of, setting_text
    from curvetune.grids.own import class_sizes

    sizes = class_sizes(store.root, plan.digest)
    setting = setting_of(cell.config.model_dump(mode="json"), sizes)
    failure = store.failure(cell.cell_id) or {"error": "it left neither a result nor an error"}
    return (
        f"  {cell.cell_id} {cell.config.method.name}, {setting_text(setting)}, "
        f"seed {cell.config.seed}: {failure['error']}\n"
        f"    log: {store.failure_file(cell.cell_id)}"
    )
