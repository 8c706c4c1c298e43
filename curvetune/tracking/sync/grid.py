"""What a tracker shows of a grid: each run once, each point once.

    experiment <grid>
      run of the grid      tag curvetune.grid; the tables as note and as artifacts
        run of a method    tag curvetune.method; MA after each cell that was done, and a table
          run of a cell    tag curvetune.cell_id; its config, data, history and result

Every run carries in a tag what was sent to it (`SENT`), so that a new process goes on where the
last one stopped. Points keep the time stamps of the history, so that a point that is sent again,
since its tag or the tracker's answer was lost, is the same point.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from curvetune.errors import CorruptError
from curvetune.grids.cells import Cell, Grid, GridReader, Rows
from curvetune.grids.copies import copies_in
from curvetune.report.colours import colours_of
from curvetune.report.figures.of_grid import files_of_grid, files_of_method
from curvetune.store.history import read_rows
from curvetune.store.names import HISTORY
from curvetune.tracking.base import (
    DataSpec,
    NullTracker,
    Point,
    Run,
    RunSpec,
    Tracker,
)
from curvetune.tracking.sync.files import (
    DIVERGED,
    cell_files,
    diverged,
    divergence_note,
    divergence_points,
    faults_of,
)
from curvetune.tracking.sync.models import WEIGHTS, packaged
from curvetune.tracking.sync.notes import (
    grid_files,
    grid_note,
    grid_pictures,
    method_files,
    method_note,
)
from curvetune.tracking.sync.points import grid_values, history_points, ma_values, result_points
from curvetune.tracking.sync.runs import cell_data, cell_spec, grid_data, grid_spec, method_spec
from curvetune.tracking.sync.views import how_to_read, saved_views

SENT = "curvetune.sent"
ERROR = "curvetune.error"
DATA = "curvetune.data"  # the digest of the data that was logged
TABLES = "curvetune.tables"  # a digest of what a run's files and note were made of
FIGURES = "curvetune.figures"  # a digest of what a run's figures were drawn from
FILES = "curvetune.files"  # when the result was made whose files were kept
MODEL = "curvetune.model"  # the SHA-256 of the model that was logged
NOTE = "mlflow.note.content"
KIND = "mlflow.experimentKind"  # else the pages are those for language models
POINTS_AT_ONCE = 990  # MLflow takes 1,000 in a request, tags included, and each costs five commits
logger = logging.getLogger(__name__)

News = Iterable[tuple[Sequence[Point], Mapping[str, str]]]  # points, and the tags for thereafter


def _nothing() -> None:
    """Do nothing."""


@dataclass
class Sent:
    """What a sync came to."""

    runs: int = 0  # that the grid has in the tracker
    points: int = 0  # that were sent


class GridSync:
    """Keeps trackers up to date with one grid, reading and sending only what is new."""

    def __init__(self, storage: Path | str, grid: str, *, log_models: bool = False) -> None:
        """Project `grid` of `storage`; with `log_models`, also the classifiers of its cells."""
        self._storage, self._log_models = storage, log_models
        self._reader = GridReader(storage, grid)
        self._tracker: Tracker = NullTracker()
        self._sent = Sent()
        self._diverged: dict[str, str] = {}  # of each run that did, where

    def update(self, tracker: Tracker, *, running: bool | None = None) -> Sent:
        """Send what is new to `tracker`.

        Args:
            running: whether somebody runs the grid; unless given, its cells tell.

        Raises:
            BackendError: the tracker cannot be reached.
            ConfigError: the storage has no such grid.
        """
        self._tracker, self._sent, self._diverged = tracker, Sent(), {}
        grid = self._reader.read()
        if running is None:
            running = any(cell.state == "running" for cell in grid.cells)
        top = self._run(grid_spec(grid))
        self._use_data(top, lambda: grid_data(grid, copies_in(self._storage, grid.digest)))
        colours = colours_of(list(grid.methods()))
        for label, cells in grid.methods().items():
            method = self._run(method_spec(grid, label, cells, top, colours[label]))
            for cell in cells:
                if cell.state != "waiting" or cell.activity is not None:
                    spec = cell_spec(grid, cell, method, colours[label])
                    self._cell(grid, cell, spec, running=running)
            self._mean_accuracy(method, cells, grid)
            self._tables(method, method_files(grid, label), method_note(grid, label))
            if not running:
                self._figures(method, cells, partial(files_of_method, grid, label))
            tracker.set_status(method, *_status_of_many(cells, running=running))
        tracker.set_status(top, *_status_of_many(grid.cells, running=running))
        self._values_of_grid(top, grid)
        files = {**grid_files(self._storage, grid), **grid_pictures(grid)}
        note = grid_note(grid, top.run_id, self._diverged)
        self._tables(top, files, note, lambda: self._views(grid))
        if not running:
            self._figures(top, grid.cells, partial(files_of_grid, grid))
        return self._sent

    def _views(self, grid: Grid) -> None:
        """Say how to read the experiment, and save the views of it."""
        tags = {NOTE: how_to_read(grid), KIND: "custom_model_development", **saved_views(grid)}
        self._tracker.describe(grid.name, tags)

    def _run(self, spec: RunSpec) -> Run:
        self._sent.runs += 1
        return self._tracker.run(spec)

    def _send(self, run: Run, news: News) -> None:
        """Send `news` in as few requests as take it; a tag never goes before its points."""
        points: list[Point] = []
        tags: dict[str, str] = {}
        for more, receipt in news:
            if points and len(points) + len(more) > POINTS_AT_ONCE:
                self._log(run, points, tags)
                points, tags = [], {}
            points += more
            tags |= receipt
        if points or tags:
            self._log(run, points, tags)

    def _log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        self._tracker.log(run, points, tags)
        self._sent.points += len(points)

    def _cell(self, grid: Grid, cell: Cell, spec: RunSpec, *, running: bool) -> None:
        run = self._run(spec)
        is_new = cell.result is None or _sent(run).get("done") != cell.finished
        if is_new or run.tags.get(FILES) != str(cell.finished):
            histories = self._histories(cell)
            if is_new:
                run = self._cell_news(spec, run, cell, histories)
            self._files(run, cell, histories)
        if words := run.tags.get(DIVERGED):
            self._diverged[spec.name] = words
        if cell.error or run.tags.get(ERROR):
            self._log(run, [], {ERROR: cell.error or ""})
        self._use_data(run, lambda: cell_data(grid, cell))
        if self._log_models and cell.result is not None:
            self._model(run, cell, cell.result)
        self._tracker.set_status(run, *_status(cell, running=running))

    def _use_data(self, run: Run, find: Callable[[], DataSpec | None]) -> None:
        """Say once what a run was trained on."""
        if DATA not in run.tags and (data := find()) is not None:
            self._tracker.use_data(run, data)
            self._log(run, [], {DATA: data.digest})

    def _model(self, run: Run, cell: Cell, result: Mapping[str, Any]) -> None:
        """Keep a cell's classifier, once; one that is elsewhere or damaged is left out."""
        digest = result.get("files", {}).get(WEIGHTS)
        if digest is None or run.tags.get(MODEL) == digest:
            return
        path = self._reader.cells.folder(cell.cell_id) / WEIGHTS
        try:
            files = packaged(path, cell.cell_id, cell.config, result)
        except CorruptError as error:
            logger.warning("%s; its model is not logged", error)
            return
        self._tracker.write_files(run, files)
        self._log(run, [], {MODEL: digest})

    def _histories(self, cell: Cell) -> dict[str, Rows]:
        histories = {"allocate": _rows(self._reader.cells.folder(cell.cell_id))}
        if cell.probe_id is not None:
            probe = _rows(self._reader.curves.folder(cell.probe_id))
            histories = {"probe": probe, **histories}
        return histories

    def _files(self, run: Run, cell: Cell, histories: Mapping[str, Rows]) -> None:
        """Keep the files of a cell that is done, once, and say where a training diverged."""
        faults = faults_of(histories)
        if (words := diverged(cell, faults)) != run.tags.get(DIVERGED, ""):
            points = divergence_points(faults, histories["allocate"] or histories.get("probe", ()))
            self._log(run, points, {DIVERGED: words, NOTE: divergence_note(words) if words else ""})
        if cell.result is not None and run.tags.get(FILES) != str(cell.finished):
            files = cell_files(cell, histories)
            self._tracker.write_files(run, {name: text.encode() for name, text in files.items()})
            self._log(run, [], {FILES: str(cell.finished)})

    def _values_of_grid(self, run: Run, grid: Grid) -> None:
        """Send the MA of all methods to the run of the grid, where one changed."""
        done = [cell.finished for cell in grid.cells if cell.finished is not None]
        shown, values = _sent(run), grid_values(grid)
        if not done or shown.get("values") == values:
            return
        step = max(len(done), shown.get("step", 0) + 1)
        points = _changes(values, shown.get("values", {}), step, max(done))
        self._send(run, [(points, _tag({"step": step, "values": values}))])

    def _cell_news(self, spec: RunSpec, run: Run, cell: Cell, histories: Mapping[str, Rows]) -> Run:
        """Send the epochs that are new, and the result; return the run that has them."""
        if _was_run_again(_sent(run), cell, histories):
            self._tracker.drop(run)
            run = self._tracker.run(spec)
        self._send(run, _news(_sent(run), cell, histories))
        return run

    def _mean_accuracy(self, run: Run, cells: Sequence[Cell], grid: Grid) -> None:
        """Send the MA after each cell that was done since; and where the grid itself changed."""
        sent = _sent(run)
        step, shown = sent.get("step", 0), sent.get("values", {})
        done = sorted((c for c in cells if c.finished is not None), key=lambda c: c.finished or 0)
        news: list[tuple[list[Point], dict[str, str]]] = []
        for k in range(step + 1, len(done) + 1):
            values = ma_values(done[:k], grid.settings)
            points = _changes(values, shown, k, done[k - 1].finished or 0.0)
            step, shown = k, values
            news.append((points, _tag({"step": step, "values": shown})))
        if done and (values := ma_values(done, grid.settings)) != shown:
            points = _changes(values, shown, step + 1, done[-1].finished or 0.0)
            news.append((points, _tag({"step": step + 1, "values": values})))
        self._send(run, news)

    def _tables(
        self, run: Run, files: Mapping[str, str], note: str, also: Callable[[], None] = _nothing
    ) -> None:
        """Keep the tables of a run and its note, and do what goes with them, if they changed."""
        digest = hashlib.sha256(json.dumps([dict(files), note]).encode()).hexdigest()
        if run.tags.get(TABLES) == digest:
            return
        self._tracker.write_files(run, {name: text.encode() for name, text in files.items()})
        also()
        self._log(run, [], {NOTE: note, TABLES: digest})

    def _figures(
        self, run: Run, cells: Sequence[Cell], draw: Callable[[], Mapping[str, bytes]]
    ) -> None:
        """Keep the figures of a run, if its results changed; a running grid waits with them."""
        shown = [(cell.cell_id, cell.accuracy()) for cell in cells if cell.result is not None]
        digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()
        if not shown or run.tags.get(FIGURES) == digest:
            return
        self._tracker.write_files(run, draw())
        self._log(run, [], {FIGURES: digest})


def _news(sent: dict[str, Any], cell: Cell, histories: Mapping[str, Rows]) -> News:
    """Yield the points of each epoch that was not sent, and of the result; add them to `sent`."""
    for stage, rows in histories.items():
        last = int(sent[stage]["epoch"]) if stage in sent else -1
        for row in rows:
            if row["epoch"] > last:
                sent[stage] = {"epoch": row["epoch"], "loss": row.get("loss")}
                yield history_points(stage, [row]), _tag(sent)
    if cell.result is not None:
        points = result_points(cell.result, histories["allocate"])
        for start in range(0, len(points), POINTS_AT_ONCE):  # one accuracy of each class
            yield points[start : start + POINTS_AT_ONCE], {}
        yield [], {**_provenance(cell.result), **_tag({**sent, "done": cell.finished})}


def _provenance(result: Mapping[str, Any]) -> dict[str, str]:
    tags = {
        "curvetune.device": str(result.get("device", "")),
        "curvetune.versions": json.dumps(result.get("versions", {})),
    }
    if result.get("commit"):
        tags["mlflow.source.git.commit"] = str(result["commit"])
    return tags


def _was_run_again(sent: Mapping[str, Any], cell: Cell, histories: Mapping[str, Rows]) -> bool:
    """Say whether the run shows numbers that are no longer those of the storage.

    A cell that goes on from its checkpoint repeats some epochs at another time, but with the same
    numbers: their points are the old ones.
    """
    if sent.get("done") not in (None, cell.finished):
        return True
    return any(
        row["epoch"] == sent[stage]["epoch"] and row.get("loss") != sent[stage]["loss"]
        for stage, rows in histories.items()
        if stage in sent
        for row in rows
    )


def _status(cell: Cell, *, running: bool) -> tuple[str, float | None]:
    """Return MLflow's word for a cell, and when it ended."""
    if cell.state == "done":
        return "FINISHED", cell.finished
    if cell.state == "failed":
        return "FAILED", None
    if cell.state == "running" and running:
        return "RUNNING", None
    return "KILLED", cell.activity.news if cell.activity is not None else None


def _status_of_many(cells: Sequence[Cell], *, running: bool) -> tuple[str, float | None]:
    """Return MLflow's word for a method or a grid, and when it ended."""
    states = {cell.state for cell in cells}
    if states == {"done"}:
        return "FINISHED", max(cell.finished or 0.0 for cell in cells)
    if running:
        return "RUNNING", None
    return ("FAILED" if "failed" in states else "KILLED"), None


def _changes(
    values: Mapping[str, float | None], shown: Mapping[str, float | None], step: int, when: float
) -> list[Point]:
    """Return a point for each value; for one that is no longer known, NaN."""
    known = {
        key: math.nan if value is None else value
        for key, value in values.items()
        if value is not None or shown.get(key) is not None
    }
    return [Point(key, value, step, when) for key, value in known.items()]


def _sent(run: Run) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(run.tags.get(SENT) or "{}")
    return sent


def _tag(sent: Mapping[str, Any]) -> dict[str, str]:
    return {SENT: json.dumps(sent)}


def _rows(folder: Path) -> Rows:
    """Return the history in `folder`; none of a damaged one, which the next run replaces."""
    try:
        return read_rows(folder / HISTORY)
    except ValueError:
        return []
