"""What the driver does at every step of Ray Tune: follow the nodes, settle trials that are lost."""

import logging
import time
from pathlib import Path
from typing import Any

from ray import tune

from curvetune.errors import CurvetuneError, FailureKind, StorageError
from curvetune.planning.order import Order
from curvetune.store import CellStore
from curvetune.store.flags import Flag
from curvetune.system.redact import redact
from curvetune.training.failures import LOST
from curvetune.training.import_errors import IMPORT, words_in_log
from curvetune.tune.nodes.room import LOOK_S, Room
from curvetune.tune.searcher import OrderSearcher
from curvetune.tune.trainable import Work

logger = logging.getLogger(__name__)


class FollowNodes(tune.Callback):
    """Follows the nodes of the cluster at every step, and tells trials whose node is to go."""

    def __init__(self, cluster: Room, order: Order, work: Work) -> None:
        self._cluster = cluster
        self._order = order
        self._work = work
        self._told: set[str] = set()
        self._looked = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        self._cluster.look(self._order.demand())
        for node in self._cluster.drained - self._told:
            try:
                Flag(self._work.leave_file(node)).put_up()
                self._told.add(node)
            except (OSError, StorageError) as error:  # tried again at the next look
                logger.warning("the cells of a node that is drained cannot be told: %s", error)


class LostTrials(tune.Callback):
    """Settles the cell of a trial that Tune gave up, or that could not import what it needs.

    A worker that cannot import tells so (worker.py), unless it is Ray that fails there: then it is
    in Tune's log, and the trial is tried once more, since it may be one node's fault. Either way
    people are told once.

    Tune has ways to give up a trial in which it tells neither searcher nor callback (a worker that
    could not be reset), and a cell that is never settled would be waited for without end. So this
    looks at the trials themselves, at every step.
    """

    def __init__(self, searcher: OrderSearcher, store: CellStore) -> None:
        self._searcher = searcher
        self._store = store
        self._seen: set[str] = set()
        self._told: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a failed import that the worker told of: the storage may be out of its reach."""
        if result.get("kind") == IMPORT and "log" in result:
            self._fail(result["cell_id"], str(result["failed"]), str(result["log"]), IMPORT)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Give a trial only one more chance where Ray could not import what it runs."""
        if words_in_log(_error_text(trial)) is not None:
            trial.max_failures = 1

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        for trial in trials:
            if trial.status == "ERROR" and trial.trial_id not in self._seen:
                self._seen.add(trial.trial_id)
                self._record(trial)
                self._searcher.on_trial_complete(trial.trial_id, error=True)

    def _record(self, trial: Any) -> None:
        """Write FAILED.json; an exception here would end the whole run."""
        log = redact(_error_text(trial))
        kind: FailureKind = LOST
        if (words := words_in_log(log)) is not None:
            reason, kind = words, IMPORT
        elif "actor died" in log:
            reason = (
                f"its worker process died {trial.num_failures} times (killed, out of memory, or "
                f"its node was lost)"
            )
        else:
            reason = f"given up after {trial.num_failures} tries: {log.strip().splitlines()[-1]}"
        self._fail(trial.config["cell_id"], reason, log, kind)

    def _fail(self, cell_id: str, reason: str, log: str, kind: FailureKind) -> None:
        if kind == IMPORT and reason not in self._told:
            self._told.add(reason)
            logger.warning("a worker of Ray %s; only cells that need it fail", reason)
        try:
            self._store.fail(cell_id, reason, log, kind=kind)
        except CurvetuneError as error:
            logger.warning("a failure could not be recorded: %s", error)


def _error_text(trial: Any) -> str:
    """Return what Tune wrote about each failure of a trial."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return "Tune kept no log of it"
