"""Keeps MLflow up to date with the storage: once, or from a thread while a grid runs.

Training must not notice MLflow: neither its import (2 s), nor that it is slow, nor that it is down.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from curvetune.errors import BackendError, BusyError
from curvetune.system.redact import redact
from curvetune.tracking.base import Tracker, database_file, is_remote, resolve_uri, shown
from curvetune.tracking.moved import bring_along, moved_words
from curvetune.tracking.sync.receipt import Receipt
from curvetune.tracking.sync.turns import Turns

if TYPE_CHECKING:
    from curvetune.tracking.sync.grid import GridSync, Sent

EVERY_S = 5.0  # between two syncs
LONGEST_S = 60.0  # between two tries while MLflow is down
# How long the end of a grid waits for the last sync. A database in the storage is not "down", but
# may have a whole grid to take in (2,000 to 10,000 points per second); the next command goes on.
REMOTE_END_S = 10.0
LOCAL_END_S = 60.0
LAST_TURN_S = 5.0  # how long it waits for another driver of the grid, which may go on with it
COMMAND_TURN_S = 90.0  # how long a command does: longer than a dead driver's lease lasts

logger = logging.getLogger(__name__)


def sync(storage: Path | str, grid: str, tracker: Tracker, *, log_models: bool = False) -> "Sent":
    """Bring `tracker` up to date with a grid; doing it again adds nothing.

    Raises:
        BackendError: the tracker cannot be reached.
        BusyError: another process does the same, and takes long.
        ConfigError: the storage has no such grid.
    """
    from curvetune.tracking.sync.grid import GridSync

    work = GridSync(storage, grid, log_models=log_models)
    with Turns(storage, grid).turn(wait_s=COMMAND_TURN_S):
        return work.update(tracker)


class TrackerThread:
    """Syncs a grid to MLflow while the block that it opens runs, and once more at its end."""

    def __init__(
        self,
        storage: Path | str,
        grid: str,
        tracking_uri: str | None = None,
        *,
        every_s: float = EVERY_S,
        end_s: float | None = None,
        connect: Callable[[], Tracker] | None = None,
        log_models: bool = False,
    ) -> None:
        """Sync `grid` of `storage` to `tracking_uri`, else $MLFLOW_TRACKING_URI, else the storage.

        Args:
            end_s: how long the end may wait; REMOTE_END_S or LOCAL_END_S unless given.
            connect: makes another tracker than MLflow's.
            log_models: also send the classifiers of cells that are done.

        Raises:
            ConfigError: the address is MLflow's file store.
        """
        self._storage = storage
        self._grid = grid
        self._uri = resolve_uri(storage, tracking_uri)
        self._every_s = every_s
        self.end_s = end_s or (REMOTE_END_S if is_remote(self._uri) else LOCAL_END_S)
        self._connect = connect or self._mlflow
        self._log_models = log_models
        self._known_sync: GridSync | None = None
        self._receipt = Receipt(storage, grid, self._uri, log_models=log_models)
        self._turns = Turns(storage, grid)
        self._tracker: Tracker | None = None
        self._problem: str | None = "not tried yet"
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)

    def catch_up(self) -> None:
        """Sync once, for a grid that has nothing to run; not at all if the tracker has it all."""
        self._bring_along()
        if not self._receipt.is_valid():
            self._stop.set()
            with self:
                pass

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(self.end_s)
        problem = self._problem
        if self._thread.is_alive():
            problem = f"MLflow at {shown(self._uri)}: not up to date after {self.end_s:g} s"
        if problem is not None:
            logger.warning(
                "%s. All results are in %s, but not in MLflow: `curvetune sync %s` (with the same "
                "--storage and --tracking-uri) brings it up to date",
                problem,
                self._storage,
                self._grid,
            )

    def _run(self) -> None:
        delay = self._every_s
        while True:
            stopping = self._stop.is_set()  # before the last sync, not after it
            self._try(running=not stopping)
            if stopping:
                return
            delay = self._every_s if self._problem is None else min(2 * delay, LONGEST_S)
            self._stop.wait(delay)

    def _try(self, *, running: bool) -> None:
        """Sync; tell once what is wrong, and start afresh next time."""
        try:
            wait_s = 0.0 if running else min(LAST_TURN_S, self.end_s / 2)
            with self._turns.turn(wait_s=wait_s) as alone:
                results = None if running else self._receipt.results()
                self._sync.update(self._connected(alone=alone and running), running=running)
                self._receipt.keep(results)
        except BusyError as error:
            self._problem = f"MLflow is left to another process: {error}"
        except BackendError as error:
            self._failed(str(error))
        except Exception as error:
            self._failed(repr(error))
            logger.debug("a sync failed", exc_info=True)
        else:
            if self._told and self._problem is not None:
                logger.warning("MLflow at %s is up to date again", shown(self._uri))
            self._problem = None

    def _connected(self, *, alone: bool) -> Tracker:
        """Return a tracker that knows what is there: a new one if others wrote meanwhile.

        The last sync is by a new one too: what a stalled server was asked long ago, and has done
        since, is found then.
        """
        if self._tracker is None or not alone:
            self._tracker = self._connect()
        return self._tracker

    def _bring_along(self) -> None:
        """Correct a database that was moved with its storage: to the receipt it looks the same."""
        if (database := database_file(self._uri)) is not None:
            with contextlib.suppress(sqlite3.Error):  # the next sync tells
                if moved := bring_along(database, Path(self._storage)):
                    logger.warning("%s", moved_words(database, moved, self._storage))

    @property
    def _sync(self) -> "GridSync":
        """What syncs; not imported, with figures and pages, for a grid that MLflow has already."""
        if self._known_sync is None:
            from curvetune.tracking.sync.grid import GridSync

            self._known_sync = GridSync(self._storage, self._grid, log_models=self._log_models)
        return self._known_sync

    def _mlflow(self) -> Tracker:
        from curvetune.tracking.mlflow import MlflowTracker

        return MlflowTracker(self._uri, self._storage)

    def _failed(self, problem: str) -> None:
        self._tracker = None
        self._problem = problem = redact(problem)
        if problem not in self._told and not self._stop.is_set():
            self._told.add(problem)
            logger.warning("%s. The grid goes on, and MLflow is tried again.", problem)
