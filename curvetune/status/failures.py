"""What is said of a failed cell: kind, error, end of the log, MLflow run, and how to try again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curvetune.errors import printable
from curvetune.grids.cells import Cell, Grid
from curvetune.store.names import CELLS, FAILED
from curvetune.system.redact import MASK
from curvetune.tracking.base import CELL_TAG, DATABASE
from curvetune.tracking.lookup import find_run

TAIL = 6  # lines of a log that are shown
MAX_DETAILED = 5  # failures with more than a line each
UI = "http://127.0.0.1:5000"  # where `curvetune ui` listens
# What `retry` takes over from the command that made the grid, to be typed again.
CARRIED = (
    "--plugin",
    "--data-dir",
    "--on-bad",
    "--tracking-uri",
    "--notify",
    "--address",
    "--gpus-per-trial",
    "--cpus-per-trial",
    "--max-concurrent",
    "--checkpoint-every",
    "--hang-after",
)
REPEATED = ("--plugin",)


def kind_of(cell: Cell) -> str:
    """Return the kind of a failed cell's failure."""
    return printable((cell.failure or {}).get("kind", "other"))


def log_tail(failure: Mapping[str, Any], lines: int = TAIL) -> list[str]:
    """Return the last lines of a failure's log."""
    tail = str(failure.get("log", "")).rstrip().splitlines()[-lines:]
    return [printable(line, 500) for line in tail]


def mlflow_run(storage: Path, grid: str, cell_id: str) -> dict[str, Any]:
    """Return where MLflow shows a cell: `run_id` and `page` are None where only a server knows."""
    found = find_run(storage / DATABASE, grid, CELL_TAG, cell_id)
    return {
        "experiment": grid,
        "tag": {CELL_TAG: cell_id},
        "run_id": None if found is None else found.run_id,
        "page": None if found is None else found.page,
    }


def mlflow_words(run: Mapping[str, Any]) -> str:
    """Return `mlflow_run` in words."""
    if run["run_id"] is not None:
        return f"run {run['run_id']}, at {UI}{run['page']} while `curvetune ui` runs"
    ((tag, value),) = run["tag"].items()
    return f"in experiment {run['experiment']}, search for tags.`{tag}` = '{value}'"


def failure_json(cell: Cell, storage: Path, grid: str) -> dict[str, Any] | None:
    """Return what is known of a cell's failure; None unless it has failed."""
    if cell.failure is None:
        return None
    return {
        "kind": kind_of(cell),
        "error": cell.error,
        "time": cell.failure.get("time"),
        "log": f"{CELLS}/{cell.cell_id}/{FAILED}",
        "log_tail": log_tail(cell.failure),
        "mlflow": mlflow_run(storage, grid, cell.cell_id),
    }


def details(cell: Cell, storage: Path, grid: str) -> Iterator[str]:
    """Yield lines about a failure, beside the error itself."""
    yield f"log: {storage / CELLS / cell.cell_id / FAILED}, which ends with"
    yield from (f"    {line}" for line in log_tail(cell.failure or {}))
    yield f"MLflow: {mlflow_words(mlflow_run(storage, grid, cell.cell_id))}"


def retry_lines(grid: Grid, given_storage: Path | None) -> list[str]:
    """Return how to try the failed cells of a grid again; nothing if none has failed."""
    kinds = list(dict.fromkeys(kind_of(cell) for cell in grid.cells if cell.state == "failed"))
    if not kinds:
        return []
    lines = [f"to try them again: {retry_command(grid.name, grid.command, given_storage)}"]
    if len(kinds) > 1:
        lines.append(f"  or some of them: --failed-as KIND, of {', '.join(kinds)}")
    return lines


def retry_command(grid: str, command: str, given_storage: Path | None) -> str:
    """Return the command that runs the failed cells of a grid again.

    Args:
        command: of the grid.
        given_storage: what --storage was given, if it was.
    """
    options = given_options(command, CARRIED)
    if given_storage is not None:
        options += ["--storage", str(given_storage)]
    text = shlex.join(["curvetune", "retry", grid, *options])
    return text + (f"  # put in again what {MASK} stands for" if MASK in text else "")


def given_options(command: str, options: Sequence[str]) -> list[str]:
    """Return those options with their values as a command has them, to be typed again."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:  # no command line at all
        return []
    return [word for option in options for word in _given(words, option)]


def _given(words: Sequence[str], option: str) -> list[str]:
    """Return `option` with its value: all of one that can be given again, else the last."""
    found: list[list[str]] = []
    for k, word in enumerate(words):
        if word == option and k + 1 < len(words):
            found.append([option, words[k + 1]])
        elif word.startswith(f"{option}="):
            found.append([option, word.partition("=")[2]])
    kept = found if option in REPEATED else found[-1:]
    return [word for pair in kept for word in pair]
