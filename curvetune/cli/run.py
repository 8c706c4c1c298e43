"""What `plan`, `grid` and `ablate` do once their options are read: plan, run, tell how it went."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from curvetune.errors import CorruptError
from curvetune.system import redact

if TYPE_CHECKING:
    from rich.console import Console

    from curvetune.data import Source
    from curvetune.planning.plan import Plan, PlannedCell
    from curvetune.planning.resources import LaunchOptions
    from curvetune.planning.selection import Selection
    from curvetune.store import CellStore, CurveStore
    from curvetune.system.source_code import Code
    from curvetune.tune.stopping import Stopping

SOME_FAILED = 3
INTERRUPTED = 4
PREEMPTED = 75
PREEMPTED_END_S = 1.0  # for MLflow


@dataclass(frozen=True)
class Places:
    """Where a command finds the images, keeps the results, and tells of them."""

    data_dir: Path | None
    storage: Path
    tracking_uri: str | None = None
    notify: str | None = None
    on_bad: str = "fail"
    log_models: bool = False


def make_plan(selection: "Selection", places: Places) -> "Plan":
    """Return what `selection` comes to, given what the storage has; changes nothing.

    Raises:
        ConfigError: the selection, its space or its data are not right.
    """
    from curvetune.cli.images import images_of, tell_images
    from curvetune.data import Folder
    from curvetune.planning.plan import build_plan
    from curvetune.planning.selection import selected_space
    from curvetune.store import CellStore, CurveStore
    from curvetune.system.source_code import Code, others, this_code

    space = selected_space(selection)
    images = images_of(space.cells[0].data, places)
    digest = images.digest(places.data_dir)
    made: list[Code] = []
    plan = build_plan(
        space,
        digest,
        is_done=partial(_is_done, CellStore(places.storage), made),
        has_probe=lambda probe_id: _has_probe(CurveStore(places.storage), probe_id),
    )
    if (said := others(made, this_code())) is not None:
        typer.echo(said, err=True)
    if isinstance(images, Folder):
        tell_images(report := images.report(places.data_dir))
        plan = replace(plan, images=report)
    return _checked(plan, images, places) if plan.left else plan


def _checked(plan: "Plan", images: "Source", places: Places) -> "Plan":
    """Return a plan with the sizes of its data, which can give every cell that is left its split.

    Raises:
        DataError: it cannot.
    """
    from curvetune.cli.pricing import Sizes

    sizes = Sizes(images.sizes(places.data_dir))
    for cell in plan.left:
        sizes(cell.config)
    return replace(plan, sizes=sizes.images)


def _is_done(store: "CellStore", made: "list[Code]", cell_id: str) -> bool:
    """Say whether a cell has a result, and note which code made it."""
    from curvetune.system.source_code import code_of

    result = store.result(cell_id)
    if result is not None:
        made.append(code_of(result))
    return result is not None


def _has_probe(store: "CurveStore", probe_id: str) -> bool:
    """Say whether a probe is there; a damaged one is not, which is said aloud."""
    try:
        store.manifest(probe_id)
    except CorruptError as error:
        if (store.folder(probe_id) / "manifest.json").exists():
            typer.echo(f"probe {probe_id} is damaged and will be trained again: {error}", err=True)
        return False
    return True


def run_grid(
    selection: "Selection",
    places: Places,
    options: "LaunchOptions",
    *,
    as_json: bool,
    time_steps: bool = False,
) -> None:
    """Run what is left of a grid, show how it came out, and exit with a code that says so."""
    run_plan(
        lambda: make_plan(selection, places),
        places,
        options,
        as_json=as_json,
        time_steps=time_steps,
    )


def run_plan(
    make: Callable[[], "Plan"],
    places: Places,
    options: "LaunchOptions",
    *,
    as_json: bool,
    time_steps: bool = False,
) -> None:
    """Make a plan once the options are known to be right, and run what it has left.

    Args:
        time_steps: measure afterwards what a step takes, unless nothing was left to run.
    """
    from curvetune.cli.images import write_bad_list
    from curvetune.status.notify import check_hook, notified
    from curvetune.store import open_storage
    from curvetune.system.terminal import plain_console
    from curvetune.tracking.base import resolve_uri

    people = plain_console(stderr=True)
    check_hook(places.notify)
    resolve_uri(places.storage, places.tracking_uri)  # refuses a bad one before anything is done
    plan = make()
    places = replace(places, storage=open_storage(places.storage))
    write_bad_list(plan.images, plan.digest, places.storage)
    people.print(_what_starts(plan), highlight=False)
    with notified(places.notify, places.storage, plan.name):
        _run_and_tell(plan, places, options, people, as_json=as_json, time_steps=time_steps)


def _run_and_tell(
    plan: "Plan",
    places: Places,
    options: "LaunchOptions",
    people: "Console",
    *,
    as_json: bool,
    time_steps: bool,
) -> None:
    from curvetune.cli import streams
    from curvetune.store import CellStore
    from curvetune.tune.stopping import Stopping

    streams.only_shown()  # from here on the results are in the storage
    stopping = Stopping()
    with stopping.handled():
        try:
            finished = _run_left(plan, places, options, people, stopping)
            if finished and time_steps and plan.left:
                _time_steps(plan, places, options, people)
        except KeyboardInterrupt:
            finished = False
    if finished:
        _print_report(plan.name, places.storage, as_json=as_json)
    code = PREEMPTED if stopping.preempted else INTERRUPTED
    _exit(plan, CellStore(places.storage), 0 if finished else code)


def _run_left(
    plan: "Plan",
    places: Places,
    options: "LaunchOptions",
    people: "Console",
    stopping: "Stopping",
) -> bool:
    """Run the cells that are left while others watch; False if a signal stopped it."""
    from curvetune.cli.pricing import keep_estimate
    from curvetune.data import ClassSizes
    from curvetune.store import CellStore

    dataset = _prepare(plan, places) if plan.left else None
    from curvetune.status.live import LiveProgress
    from curvetune.tracking.sync.thread import TrackerThread

    if not plan.is_part:
        CellStore(places.storage).write_grid(plan.name, _grid_file(plan))
    if dataset is not None:
        sizes = ClassSizes.of(dataset.train.y, dataset.test.y, dataset.num_classes)
        keep_estimate(plan, sizes, places.storage, options)
    tracker = TrackerThread(
        places.storage, plan.name, places.tracking_uri, log_models=places.log_models
    )
    if not plan.left:
        tracker.catch_up()
        return True
    with tracker:
        from curvetune.tune.launch import launch

        only = {cell.cell_id for cell in plan.cells}
        try:
            with LiveProgress(places.storage, plan.name, people, only=only):
                return launch(plan, dataset, places.storage, options, stopping=stopping)
        finally:
            if stopping.preempted:  # its grace is nearly over; the next command tells MLflow
                tracker.end_s = PREEMPTED_END_S


def _time_steps(plan: "Plan", places: Places, options: "LaunchOptions", people: "Console") -> None:
    """Measure what a step of each method takes, now that no trial runs beside it."""
    from curvetune.cli.images import images_of
    from curvetune.tune.step_times import measure_step_times

    people.print("timing the steps", highlight=False)
    dataset = images_of(plan.cells[0].config.data, places).load(places.data_dir)
    measure_step_times(plan, dataset, places.storage, options)


def _prepare(plan: "Plan", places: Places) -> Any:
    """Load the data and make every split, so that a bias it cannot bear is found before Ray."""
    from curvetune.cell import prepare_splits
    from curvetune.cli.images import images_of, keep_copies

    cells = [cell.config for cell in plan.left]
    dataset = images_of(cells[0].data, places).load(places.data_dir)
    prepare_splits(cells, plan.digest, dataset, places.storage)
    keep_copies(plan.images, dataset, plan.digest, places.storage)
    return dataset


def _grid_file(plan: "Plan") -> dict[str, Any]:
    """Return what the storage keeps about a grid."""
    from curvetune.planning.plan import cell_json

    return {
        "cells": [cell_json(cell) for cell in plan.cells],
        "command": command_line(),
        "data_digest": plan.digest,
    }


def command_line() -> str:
    """Return the command that runs, as it can be typed again (but for secrets)."""
    return redact.command(sys.argv[1:])


def _what_starts(plan: "Plan") -> str:
    n = plan.counts()
    if plan.is_part:
        cells = "1 failed cell" if n["cells_total"] == 1 else f"{n['cells_total']} failed cells"
        return f"{plan.name}: {cells if plan.left else 'no such failed cell'} to run again"
    if not plan.left:
        return f"{plan.name}: all {n['cells_total']} cells are done; nothing to run"
    return (
        f"{plan.name}: {n['cells_total']} cells, {n['cells_done']} done, {n['cells_to_run']} to "
        f"run; probes: {n['probes_stored']} stored, {n['probes_to_run']} to run"
    )


def _print_report(name: str, storage: Path, *, as_json: bool) -> None:
    if as_json:
        import json

        from curvetune.report.tables.main import report_json

        typer.echo(json.dumps(report_json(storage, name), indent=1))
        return
    from curvetune.report.tables.main import print_report
    from curvetune.system.terminal import plain_console

    print_report(storage, name, plain_console())


def _exit(plan: "Plan", store: "CellStore", code: int) -> None:
    """List what is not done, and exit with the code for it; return if all is done.

    Args:
        code: INTERRUPTED or PREEMPTED where a signal stopped the grid, else 0.
    """
    lacking = [cell for cell in plan.left if store.result(cell.cell_id) is None]
    if code:
        word = "preempted" if code == PREEMPTED else "interrupted"
        typer.echo(
            f"{word}; {len(lacking)} of {len(plan.cells)} cells are not done. To go on, run "
            f"the same command again:\n  {command_line()}",
            err=True,
        )
        raise typer.Exit(code)
    if lacking:
        lines = [_failure(cell, store) for cell in lacking]
        typer.echo(f"{len(lines)} of {len(plan.cells)} cells failed:", err=True)
        typer.echo("\n".join([*lines, f"to try them again: {command_line()}"]), err=True)
        raise typer.Exit(SOME_FAILED)


def _failure(cell: "PlannedCell", store: "CellStore") -> str:
    """Return which cell failed, why, and where its log is."""
    bias = cell.config.bias
    failure = store.failure(cell.cell_id) or {"error": "it left neither a result nor an error"}
    return (
        f"  {cell.cell_id} {cell.config.method.name}, imbalance {bias.imbalance:g}, "
        f"{bias.noise} {bias.noise_rate:g}, seed {cell.config.seed}: {failure['error']}\n"
        f"    log: {store.folder(cell.cell_id) / 'FAILED.json'}"
    )
