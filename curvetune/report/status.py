"""What is said about the progress of a grid: tables, single lines, JSON."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from curvetune.report.activity import GridProgress, Progress
from curvetune.report.cells import Cell, Grid
from curvetune.report.collect import method_rows
from curvetune.report.labels import setting_parts, setting_words

SCHEMA_VERSION = 1
STYLES = {"done": "green", "failed": "red", "running": "cyan", "waiting": "dim"}
MAX_NAMED = 3  # cells named in one line


def print_status(progress: GridProgress, console: Console) -> None:
    """Print every cell and its state, then why cells failed, and how many are in which state."""
    console.print(cells_table(progress, progress.cells))
    for p in progress.of("failed"):
        console.print(Text(failure_line(p.cell, progress.grid), "red"), soft_wrap=True)
    console.print()
    console.print(counts_line(progress), style="bold", highlight=False, soft_wrap=True)


def live_view(progress: GridProgress, rows: int) -> RenderableType:
    """Return what a terminal shows while a grid runs: at most `rows` cells, counts, MA so far."""
    running = progress.of("running")
    parts: list[RenderableType] = [cells_table(progress, running[:rows])] if running else []
    if len(running) > rows:
        parts.append(Text(f"… and {len(running) - rows} more", "dim"))
    failed = progress.of("failed")
    parts += [Text(failure_line(p.cell, progress.grid), "red") for p in failed[-MAX_NAMED:]]
    parts += [Text(), _ma_so_far(progress), Text(), Text(counts_line(progress), "bold")]
    return Group(*parts)


def cells_table(progress: GridProgress, cells: Sequence[Progress]) -> Table:
    """Return a table with a row for each of `cells`."""
    settings = progress.grid.settings
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("method")
    for key in setting_words(settings[0], settings):
        table.add_column(key, justify="right")
    for header in ("seed", "state", "accuracy", "time"):
        table.add_column(header, justify="left" if header == "state" else "right")
    for p in cells:
        table.add_row(
            p.cell.label,
            *setting_words(p.cell.setting, settings).values(),
            str(p.cell.seed),
            Text(p.words, STYLES[p.cell.state]),
            "" if p.accuracy is None else percent(p.accuracy),
            _time(p),
        )
    return table


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
    return f"no news: {name}: {progress.words}"


def summary_line(progress: GridProgress) -> str:
    """Return where the running cells are and what is left, in one line."""
    running = progress.of("running")
    named = [
        f"{cell_name(p.cell, progress.grid)}: {p.words}"
        + ("" if p.accuracy is None else f", {percent(p.accuracy)}")
        for p in running[:MAX_NAMED]
    ]
    more = [f"and {len(running) - MAX_NAMED} more"] if len(running) > MAX_NAMED else []
    return f"{counts_line(progress)} [{'; '.join([*named, *more])}]"


def counts_line(progress: GridProgress) -> str:
    """Return how many cells are in each state, and how long the rest will take."""
    counts = progress.grid.counts()
    words = [f"{n} {state}" for state, n in counts.items() if n]
    left = progress.seconds_left
    tail = "" if left is None else f"; about {duration(left)} left"
    return f"{progress.grid.name}: {len(progress.cells)} cells: {', '.join(words)}{tail}"


def failure_line(cell: Cell, grid: Grid) -> str:
    """Return which cell failed, and why."""
    return f"failed: {cell_name(cell, grid)} (cell {cell.cell_id}): {cell.error}"


def cell_name(cell: Cell, grid: Grid) -> str:
    """Return a cell in words: its method, its setting and its seed."""
    return ", ".join([cell.label, *setting_parts(cell.setting, grid.settings), f"seed {cell.seed}"])


def duration(seconds: float | None) -> str:
    """Return a time as people say it: 45 s, 3 min, 1 h 20 min; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(value: float | None) -> str:
    """Return a percentage in words; a dash for None."""
    return "–" if value is None else f"{value:.2f} %"


def progress_json(progress: GridProgress) -> dict[str, Any]:
    """Return what `status GRID --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "grid": progress.grid.name,
        "command": progress.grid.command,
        "counts": progress.grid.counts(),
        "seconds_left": progress.seconds_left,
        "cells": [
            {
                "cell_id": p.cell.cell_id,
                "probe_id": p.cell.probe_id,
                "method": p.cell.label,
                **{key: p.cell.config["bias"][key] for key in ("imbalance", "noise", "noise_rate")},
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
            }
            for p in progress.cells
        ],
    }


def _time(progress: Progress) -> str:
    if progress.cell.state == "running":
        return "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
    return "" if progress.cell.seconds is None else duration(progress.cell.seconds)


def _ma_so_far(progress: GridProgress) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for header in ("method", "MA so far", "cells done"):
        table.add_column(header, justify="left" if header == "method" else "right")
    for row in method_rows(progress.grid):
        table.add_row(row.label, percent(row.ma_so_far), f"{row.cells_done}/{row.cells}")
    return table
