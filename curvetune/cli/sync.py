"""`curvetune sync`: brings MLflow up to date with the storage, or rebuilds it from there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.errors import BackendError, CurvetuneError

if TYPE_CHECKING:
    from curvetune.tracking.base import Tracker

SCHEMA_VERSION = 1


def sync(
    grid: Annotated[
        str | None, typer.Argument(metavar="[GRID]", help="One grid; all of them unless given.")
    ] = None,
    storage: o.Storage = None,
    tracking_uri: o.TrackingUri = None,
    log_models: o.LogModels = False,
    as_json: o.AsJson = False,
) -> None:
    """Bring MLflow up to date with GRID: every run and every point that it lacks, each once.

    A grid does so by itself while it runs and when it ends. This is for a server that was down
    then, for another server, and for a database that was deleted.
    """
    from curvetune.store import CellStore
    from curvetune.tracking.base import resolve_uri, shown

    folder = o.storage_or_default(storage)
    uri = resolve_uri(folder, tracking_uri)
    store = CellStore(folder)
    if grid is not None:
        store.read_grid(grid)  # refuses an unknown name before MLflow's import, of two seconds
    names = store.grids() if grid is None else [grid]
    if not names:
        typer.echo(f"no grid in {folder} yet; `curvetune grid digits` makes one", err=True)
    found = _sync_all(folder, names, uri, as_json=as_json, log_models=log_models) if names else []
    if as_json:
        rows = [row for row, _ in found]
        content = {"schema_version": SCHEMA_VERSION, "tracking_uri": shown(uri), "grids": rows}
        typer.echo(json.dumps(content, indent=1))
    codes = [code for _, code in found if code]
    if codes:
        raise typer.Exit(max(codes))


def _sync_all(
    storage: Path, names: list[str], uri: str, *, as_json: bool, log_models: bool
) -> list[tuple[dict[str, Any], int]]:
    """Sync one grid after the other; return what each came to, and its exit code.

    Raises:
        BackendError: the tracker cannot be reached; then the others need not be tried.
    """
    from curvetune.system.progress import working

    with working("importing MLflow", signs(as_json=as_json)):
        from curvetune.tracking.mlflow import MlflowTracker

    tracker = MlflowTracker(uri, storage)
    found = []
    for name in names:
        with working(f"bringing MLflow up to date: {name}", signs(as_json=as_json)):
            row, code = _sync_one(storage, name, tracker, log_models=log_models)
        found.append((row, code))
        if code:
            typer.echo(f"error: {name}: {row['error']}", err=True)
        elif not as_json:
            typer.echo(f"{name}: up to date ({row['runs']} runs, {row['points_sent']} points sent)")
    return found


def _sync_one(
    storage: Path, name: str, tracker: "Tracker", *, log_models: bool
) -> tuple[dict[str, Any], int]:
    from curvetune.tracking.sync.thread import sync

    row: dict[str, Any] = {"grid": name, "up_to_date": False, "runs": None, "points_sent": None}
    try:
        sent = sync(storage, name, tracker, log_models=log_models)
    except BackendError:
        raise
    except CurvetuneError as error:
        return row | {"error": str(error)}, error.exit_code
    done = {"up_to_date": True, "runs": sent.runs, "points_sent": sent.points, "error": None}
    return row | done, 0
