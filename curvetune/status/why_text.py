"""`why` in words."""

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from curvetune.grids.activity import epochs_of
from curvetune.grids.identity import of_source, value_text
from curvetune.grids.labels import setting_parts
from curvetune.status.failures import log_tail, mlflow_words, retry_command
from curvetune.status.table import STYLES, percent
from curvetune.status.why import Why
from curvetune.system.units import duration


def print_why(why: Why, console: Console, storage: Path, given_storage: Path | None = None) -> None:
    """Print what state a cell is in, which result is nearest, and what decides it.

    Args:
        given_storage: what --storage was given, if it was: for the commands that are shown.
    """
    cell = why.cell
    where = setting_parts(cell.setting, (cell.setting,))
    name = ", ".join([cell.label, *where, f"seed {cell.seed}"])
    _line(console, f"cell {cell.cell_id}: {name}", "bold")
    _line(console, f"{why.state}: {state_words(why)}", STYLES.get(why.state, "cyan"))
    for line in _more(why, storage, given_storage):
        _line(console, line)
    console.print()
    for line in _nearest(why):
        _line(console, line)
    console.print()
    _line(console, "what decides it (* is the default for this data and method):")
    width = max(map(len, why.keys))
    for key, value in why.keys.items():
        mark = "*" if key in why.defaults else " "
        _line(console, f"{mark} {key:{width}}  {value_text(value)}")


def state_words(why: Why) -> str:
    """Return what a cell's state means for this one."""
    cell = why.cell
    if why.state == "done":
        return (
            f"{percent(cell.accuracy())} in {duration(cell.seconds)}, at {_clock(cell.finished)}, "
            f"on {(cell.result or {}).get('device', 'an unknown device')}"
        )
    if why.state == "failed":
        failure = why.failure or {}
        return f"{failure.get('kind')}: {cell.error} (at {_clock(failure.get('time'))})"
    if why.state == "running":
        by = f"by {cell.holder}" if cell.holder else "by a process that left no lease"
        return f"{_epochs(why)}, {by}"
    if why.state == "stale":
        by = f"; it was run by {cell.holder}, which is gone or has left it" if cell.holder else ""
        begin = "from its beginning" if why.checkpoint is None else f"from epoch {why.checkpoint}"
        return f"left in {_epochs(why)}{by}; the next run of its grid goes on {begin}"
    if why.state == "paused":
        return (
            f"at {_epochs(why)}, with a checkpoint: `tune` went on with better trials; with more "
            f"trials, or without --scheduler, it may go on"
        )
    if why.state == "cached":
        return "not begun, but its probe is stored"
    return "not begun"


def _more(why: Why, storage: Path, given_storage: Path | None) -> Iterator[str]:
    yield f"grids: {', '.join(why.grids) or 'none refers to it'}"
    if why.probe is None:
        yield f"probe: {why.cell.name} needs none here"
    else:
        by = f" by {why.probe.holder}" if why.probe.state == "running" else ""
        yield f"probe: {why.probe.probe_id}: {why.probe.state}{by}"
    if why.address != why.cell.cell_id:
        yield (
            f"its config has the address {why.address} in this version of curvetune, which "
            f"therefore will not use it"
        )
    if why.failure is not None:
        yield f"log: {storage / why.failure['log']}, which ends with"
        yield from (f"    {line}" for line in log_tail(why.cell.failure or {}))
        yield f"MLflow: {mlflow_words(why.failure['mlflow'])}"
        for grid in why.grids[:1]:
            yield f"to try it again: {retry_command(grid, why.command, given_storage)}"
    elif why.state in ("stale", "cached", "waiting") and why.command:
        yield f"to run it: {why.command}"


def _nearest(why: Why) -> Iterator[str]:
    """Yield in what the nearest result differs; options that only one of both has, in one line."""
    nearest = why.nearest
    if nearest is None:
        yield "nearest done cell: there is no other in this storage"
        return
    these, those = why.keys, nearest.keys
    count = len(nearest.differing)
    yield f"nearest done cell: {nearest.cell_id} differs in {count} key{'s' * (count != 1)}"
    if of_source(nearest.differing):
        yield "  the source of a plugin alone: it was edited after that result was made"
    rows = [
        (key, value_text(these[key]), value_text(those[key]))
        for key in nearest.differing
        if key in these and key in those
    ]
    if rows:
        rows.insert(0, ("", "this cell", "that one"))
        widths = [max(len(row[k]) for row in rows) for k in range(2)]
        yield from (f"  {key:{widths[0]}}  {a:{widths[1]}}  {b}" for key, a, b in rows)
    for which, has, lacks in (("this cell", these, those), ("that one", those, these)):
        only = [f"{key}={value_text(has[key])}" for key in has if key not in lacks]
        if only:
            yield f"  only {which} has {', '.join(only)}"


def _epochs(why: Why) -> str:
    activity = why.cell.activity
    if activity is None:
        return "its first steps"
    epochs = epochs_of(why.cell, activity.stage)
    return f"{activity.stage} {len(activity.rows)}/{epochs}"


def _clock(seconds: float | None) -> str:
    if not seconds:
        return "an unknown time"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)
