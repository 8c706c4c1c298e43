"""What is said about the progress of a grid: tables, single lines, JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from curvetune.analysis.aggregate import method_rows
from curvetune.grids.activity import GridProgress, Progress
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import setting_parts, setting_text, setting_words
from curvetune.status.failures import (
    MAX_DETAILED,
    details,
    failure_json,
    kind_of,
    retry_command,
    retry_lines,
)
from curvetune.system.collecting import not_collected
from curvetune.system.tables import Column, Table, print_table, table_lines
from curvetune.system.units import duration

SCHEMA_VERSION = 1
STYLES = {
    "done": "green",
    "failed": "red",
    "running": "cyan",
    "stale": "yellow",
    "paused": "blue",
    "waiting": "dim",
}
MAX_NAMED = 3  # cells named in one line
SO_FAR = "  MA so far: over what all have done"
SHORT_ID = 6  # digits of an id that tell cells apart


@not_collected()
def print_status(
    progress: GridProgress, console: Console, storage: Path, given_storage: Path | None = None
) -> None:
    """Print every cell and its state, then why cells failed, and how many are in which state.

    Args:
        given_storage: what --storage was given, if it was: for the commands that are shown.
    """
    print_table(cells_table(progress, progress.cells, ids=True), console)
    if progress.of("failed"):
        console.print()
    for line, style in _failure_lines(progress, storage):
        console.print(Text(line, style), soft_wrap=True)
    console.print()
    console.print(counts_line(progress), style="bold", highlight=False, soft_wrap=True)
    for line in retry_lines(progress.grid, given_storage):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def live_view(
    progress: GridProgress, rows: int, note: str = "", *, width: int = 80
) -> RenderableType:
    """Return what a terminal shows while a grid runs: at most `rows` cells, counts, MA so far.

    Args:
        note: what else there is to say.
        width: of the terminal, in letters.
    """
    running = progress.of("running")
    parts: list[RenderableType] = []
    if running:
        parts += table_lines(cells_table(progress, running[:rows]), width)
    if len(running) > rows:
        parts.append(Text(f"… and {len(running) - rows} more", "dim"))
    failed = progress.of("failed")
    parts += [Text()] * bool(running and failed)
    parts += [Text(failure_line(p.cell, progress.grid), "red") for p in failed[-MAX_NAMED:]]
    parts += [Text(), *table_lines(_ma_so_far(progress), width), Text(SO_FAR, "dim"), Text()]
    parts += [Text(counts_line(progress), "bold")]
    parts += [Text(note, "yellow")] if note else []
    return Group(*parts)


def cells_table(progress: GridProgress, cells: Sequence[Progress], *, ids: bool = False) -> Table:
    """Return a table with a row for each of `cells`; `ids` begins it with how they are called."""
    settings = progress.grid.settings
    words = {setting: [*setting_words(setting, settings).values()] for setting in settings}
    keys = ["cell"] if ids else []
    keys += ["method", *setting_words(settings[0], settings), "seed"]
    columns = [Column(key, is_key=True, is_left=key in ("cell", "method")) for key in keys]
    columns += [Column("state", is_left=True), Column("accuracy"), Column("time")]
    rows: list[tuple[str | Text, ...]] = [
        (
            *([p.cell.cell_id[:SHORT_ID]] if ids else []),
            p.cell.label,
            *words[p.cell.setting],
            str(p.cell.seed),
            Text(p.words, STYLES[p.cell.state]),
            "" if p.accuracy is None else percent(p.accuracy),
            _time(p),
        )
        for p in cells
    ]
    return Table(columns, rows)


def event_line(progress: Progress, grid: Grid, done: int) -> str:
    """Return what there is to say when a cell has changed its state; `done` cells are done now."""
    cell = progress.cell
    name = cell_name(cell, grid)
    if cell.state == "done":
        result = f"{percent(progress.accuracy)} in {duration(cell.seconds)}"
        return f"done {done}/{len(grid.cells)}: {name}: {result}"
    if cell.state == "failed":
        return failure_line(cell, grid)
    if cell.state == "running":
        return f"started: {name}"
    return f"{cell.state}: {name}: {progress.words}"


def summary_line(progress: GridProgress) -> str:
    """Return where the running cells are and what is left, in one line."""
    running = progress.of("running")
    named = [
        f"{cell_name(p.cell, progress.grid)}: {p.words}"
        + ("" if p.accuracy is None else f", {percent(p.accuracy)}")
        for p in running[:MAX_NAMED]
    ]
    more = [f"and {len(running) - MAX_NAMED} more"] if len(running) > MAX_NAMED else []
    return (
        f"{counts_line(progress)} [{'; '.join([*named, *more])}]"
        if named
        else counts_line(progress)
    )


def counts_line(progress: GridProgress) -> str:
    """Return how many cells are in each state, and how long the rest will take."""
    counts = progress.grid.counts()
    words = [f"{n} {state}" for state, n in counts.items() if n]
    left = progress.seconds_left
    tail = "" if left is None else f"; about {duration(left)} left"
    return f"{progress.grid.title}: {len(progress.cells)} cells: {', '.join(words)}{tail}"


def failure_line(cell: Cell, grid: Grid) -> str:
    """Return which cell failed, and why."""
    return f"failed: {cell_name(cell, grid)} (cell {cell.cell_id}, {kind_of(cell)}): {cell.error}"


def cell_name(cell: Cell, grid: Grid) -> str:
    """Return a cell in words: its method, its setting and its seed."""
    return ", ".join([cell.label, *setting_parts(cell.setting, grid.settings), f"seed {cell.seed}"])


def percent(value: float | None) -> str:
    """Return a percentage in words; a dash for None."""
    return "–" if value is None else f"{value:.2f} %"


def progress_json(
    progress: GridProgress, storage: Path, given_storage: Path | None = None
) -> dict[str, Any]:
    """Return what `status GRID --json` prints."""
    retry = retry_command(progress.grid.name, progress.grid.command, given_storage)
    return {
        "schema_version": SCHEMA_VERSION,
        "grid": progress.grid.name,
        "profiles": list(progress.grid.profiles),
        "others": list(progress.grid.others),
        "command": progress.grid.command,
        "retry": retry if progress.of("failed") else None,
        "counts": progress.grid.counts(),
        "seconds_left": progress.seconds_left,
        "cells": [
            {
                "cell_id": p.cell.cell_id,
                "probe_id": p.cell.probe_id,
                "method": p.cell.label,
                **{key: p.cell.config["bias"][key] for key in ("imbalance", "noise", "noise_rate")},
                "setting": setting_text(p.cell.setting),
                "seed": p.cell.seed,
                "state": p.cell.state,
                "detail": p.words,
                "stage": p.cell.activity.stage if p.cell.activity is not None else None,
                "epoch": p.epoch,
                "epochs": p.epochs,
                "accuracy": p.accuracy,
                "seconds": p.cell.seconds,
                "seconds_left": p.seconds_left,
                "error": p.cell.error,
                "failure": failure_json(p.cell, storage, progress.grid.name),
                "holder": None if p.cell.holder is None else asdict(p.cell.holder),
            }
            for p in progress.cells
        ],
    }


def _failure_lines(progress: GridProgress, storage: Path) -> Iterator[tuple[str, str]]:
    """Yield a line for each failed cell, and more about the first ones, each with its style."""
    for k, p in enumerate(progress.of("failed")):
        yield failure_line(p.cell, progress.grid), "red"
        if k < MAX_DETAILED:
            yield from ((f"  {line}", "") for line in details(p.cell, storage, progress.grid.name))
    if len(progress.of("failed")) > MAX_DETAILED:
        yield "`curvetune why CELL` says as much of the others", "dim"


def _time(progress: Progress) -> str:
    if progress.cell.state == "running":
        return "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
    return "" if progress.cell.seconds is None else duration(progress.cell.seconds)


def _ma_so_far(progress: GridProgress) -> Table:
    columns = [Column("method", is_key=True, is_left=True), Column("MA so far")]
    rows = [
        (row.label, percent(row.ma_so_far), f"{row.cells_done}/{row.cells}")
        for row in method_rows(progress.grid)
    ]
    return Table([*columns, Column("cells done")], rows)
