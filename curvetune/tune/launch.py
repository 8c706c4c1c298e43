"""Runs what a plan has left as trials of Ray Tune.

Tune's own state is disposable: it lives in `<storage>/.tune/` while a command runs and is removed
at its end. Resuming is planning again from the storage, never `Tuner.restore`.
"""

import contextlib
import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune

from curvetune.errors import BackendError, CurvetuneError, FailureKind, StorageFullError
from curvetune.planning.order import Order
from curvetune.planning.plan import Plan, PlannedCell
from curvetune.planning.resources import LaunchOptions, Slots, cpus_for_data, fit_slots
from curvetune.store import CellStore
from curvetune.store.flags import Flag
from curvetune.store.names import TUNE
from curvetune.system.redact import redact
from curvetune.training.failures import LOST, OOM
from curvetune.training.import_errors import IMPORT, words_in_log
from curvetune.tune.cluster import connected, nodes, without_keys
from curvetune.tune.curves import CurveReader, start_cache
from curvetune.tune.gpu_memory import Measure, measured_options
from curvetune.tune.searcher import InStorage, OrderSearcher
from curvetune.tune.stopping import Stopping
from curvetune.tune.trainable import RunCell, Work
from curvetune.tune.worker import run_trial, sent

MAX_FAILURES = 3  # how often a trial is tried again whose process died

QUIET_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # verbose=0 silences only the old output
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no TensorBoard, CSV and JSON files
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # FAILED.json has them
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # stopping.py has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # nobody restores Tune's state
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the trial's folder will be gone before the worker
}

logger = logging.getLogger(__name__)


def launch(
    plan: Plan,
    dataset: Any,
    storage: Path,
    options: LaunchOptions | None = None,
    *,
    stopping: Stopping | None = None,
    run_cell: RunCell | None = None,
    measure: Measure | None = None,
) -> bool:
    """Run every cell that `plan` has left; what came of each is in the storage.

    Cells that shared a GPU and ran out of its memory are tried once more at the end, with twice the
    share, and with a GPU alone at last.

    Args:
        dataset: goes into the object store once.
        stopping: hears the signals; without one, they do what they always do.
        run_cell: a stand-in for `curvetune.cell.run_cell`.
        measure: a stand-in for what `--gpus-per-trial auto` measures.

    Returns:
        Whether every cell was run to its end, good or bad; False if a signal stopped it.

    Raises:
        KeyboardInterrupt: a second signal, or the end of a SIGTERM's grace, stopped it at once.
        BackendError: Ray cannot be reached or started, or stopped working.
        ConfigError: no node of the cluster has room for one trial.
        StorageFullError: there is no space left; what is done is kept.
    """
    options = options or LaunchOptions()
    stopping = stopping or Stopping()
    with connected(options.address):
        options = measured_options(options, plan, dataset, nodes(), measure)
        slots = fit_slots(nodes(), options)
        work = Work(
            plan.digest,
            storage,
            options.checkpoint_every,
            slots.cpus,
            launch_id=f"{plan.name}-{uuid.uuid4().hex[:8]}",
            hang_after_s=options.hang_after_s,
            run_cell=run_cell,
            data_cpus=cpus_for_data(nodes(), options, slots),
        )
        cache = start_cache(storage)
        parts = {"work": work, "dataset": dataset, "curves": CurveReader(storage, cache)}
        trainable = tune.with_parameters(
            run_trial,
            parts={name: ray.put(part) for name, part in parts.items()},
            cells={cell.cell_id: _pickled(cell) for cell in plan.left},
        )
        launched = _Launched(trainable, plan, work, stopping)
        try:
            complete, cells = launched.run(plan.left, slots), list(plan.left)
            while complete and 0 < slots.gpus < 1 and (cells := _out_of_memory(cells, storage)):
                share = min(1.0, 2 * slots.gpus)
                more = replace(options, gpus_per_trial=share, cpus_per_trial=slots.cpus)
                slots = fit_slots(nodes(), more)
                complete = launched.run(cells, slots)
        finally:
            Flag(work.stop_file).take_down()
            ray.kill(cache)
        return complete


def _pickled(cell: PlannedCell) -> bytes:
    """Return a cell's config in bytes of its own: what another cell needs may not be there."""
    content: bytes = cloudpickle.dumps(sent(cell.config))  # type: ignore[no-untyped-call]
    return content


@dataclass(frozen=True)
class _Launched:
    """A trainable with all that its trials have in common."""

    trainable: Any
    plan: Plan
    work: Work
    stopping: Stopping

    def run(self, cells: Sequence[PlannedCell], slots: Slots) -> bool:
        """Run some cells of the plan; return whether each was run to its end, good or bad."""
        storage = self.work.storage
        order = Order({cell.cell_id: cell.probe_id for cell in cells}, self.plan.stored)
        searcher = OrderSearcher(order, InStorage(storage))

        def tell() -> None:
            order.stop()
            Flag(self.work.stop_file).put_up()

        with self.stopping.telling(tell):
            _fit(self.trainable, searcher, slots, storage, self.work.launch_id)
        if searcher.storage_full is not None:
            raise StorageFullError(searcher.storage_full)
        return order.complete()


def _out_of_memory(cells: Sequence[PlannedCell], storage: Path) -> list[PlannedCell]:
    """Return those of `cells` that ran out of memory, and say what becomes of them."""
    store = CellStore(storage)
    short = [c for c in cells if (store.failure(c.cell_id) or {}).get("kind") == OOM]
    if short:
        logger.warning(
            "%d of %d cells ran out of memory on a GPU that they shared; each is tried once more "
            "with twice the share",
            len(short),
            len(cells),
        )
    return short


def _fit(trainable: Any, searcher: OrderSearcher, slots: Slots, storage: Path, name: str) -> None:
    """Let Ray Tune run until the searcher is finished or a signal stops it."""
    state = storage / TUNE / f"{name}-{uuid.uuid4().hex[:4]}"
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": slots.cpus, "gpu": slots.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=slots.count,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=state.name,
            storage_path=str(state.parent),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[LostTrials(searcher, CellStore(storage))],
            verbose=0,
        ),
    )
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),  # what Ray prints is for people
            _environment(QUIET_TUNE),
            without_keys(),
        ):
            tuner.fit()
    except (ray.exceptions.RayError, tune.TuneError, OSError, EOFError) as error:
        raise BackendError(
            f"Ray Tune stopped: {type(error).__name__}: {error}\n"
            f"Finished cells are in {storage}; run the same command again to go on."
        ) from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
        with contextlib.suppress(OSError):  # another command may be running
            state.parent.rmdir()


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


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, and unset them at the end."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
