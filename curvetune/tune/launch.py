"""Runs what a plan has left as trials of Ray Tune.

Tune's own state is disposable: it lives in `<storage>/.tune/` while a command runs and is removed
at its end. Resuming is planning again from the storage, never `Tuner.restore`.
"""

import contextlib
import logging
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune

from curvetune.errors import BackendError, StorageFullError
from curvetune.planning.order import Order
from curvetune.planning.plan import Plan, PlannedCell
from curvetune.planning.resources import LaunchOptions, Slots, cpus_for_data, has_room
from curvetune.store import CellStore
from curvetune.store.files import address_of
from curvetune.store.flags import Flag
from curvetune.store.names import TUNE
from curvetune.training.failures import OOM
from curvetune.tune.address import chosen_address
from curvetune.tune.callbacks import FollowNodes, LostTrials
from curvetune.tune.cluster import (
    FOR_ALL_WORKERS,
    connected,
    environment,
    is_ours,
    without_copies,
)
from curvetune.tune.curves import CurveReader, start_cache
from curvetune.tune.gpu_memory import Measure, measured_options
from curvetune.tune.nodes.asked import (
    Question,
    asking,
    bytes_sent,
    check_here,
    check_nodes,
    first_files,
)
from curvetune.tune.nodes.carried import carried
from curvetune.tune.nodes.room import MOST_TRIALS, Notice, Room
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
    notice: Notice | None = None,
    ray_here: AbstractContextManager[None] | None = None,
) -> bool:
    """Run every cell that `plan` has left; what came of each is in the storage.

    Cells that shared a GPU and ran out of its memory are tried once more at the end, with twice the
    share, and with a GPU alone at last.

    Args:
        dataset: goes into the object store once.
        stopping: hears the signals; without one, they do what they always do.
        run_cell: a stand-in for `curvetune.cell.run_cell`.
        measure: a stand-in for what `--gpus-per-trial auto` measures.
        notice: receives what there is to say while no cell runs.
        ray_here: a Ray on this machine that starts already (tune/early.py).

    Returns:
        Whether every cell was run to its end, good or bad; False if a signal stopped it.

    Raises:
        KeyboardInterrupt: a second signal, or the end of a SIGTERM's grace, stopped it at once.
        BackendError: Ray cannot be reached or started, stopped working, or had no room for too
            long.
        ConfigError: no node of the cluster will have room for one trial, or one cannot run any.
        StorageFullError: there is no space left; what is done is kept.
    """
    options = options or LaunchOptions()
    stopping = stopping or Stopping()
    notice = notice or Notice()
    launch_id = f"{plan.name}-{uuid.uuid4().hex[:8]}"
    notice.stage = "starting Ray" if options.address is None else "connecting to Ray"
    with ray_here or connected(options.address):
        notice.stage = "starting workers, which import PyTorch"
        there, _ = chosen_address(options.address)
        cluster = Room(replace(options, address=there), notice)
        nodes = _wait(cluster, plan)
        dataset = carried(dataset, nodes)
        with _fit_nodes(cluster, dataset, storage, launch_id) as question:
            slots = cluster.take(measured_options(cluster.asked, plan, dataset, nodes, measure))
            work = Work(
                plan.digest,
                storage,
                options.checkpoint_every,
                slots.cpus,
                launch_id=launch_id,
                hang_after_s=options.hang_after_s,
                run_cell=run_cell,
                data_cpus=cpus_for_data(nodes, cluster.options, slots),
                question=question,
                engine=options.engine,
                until=plan.until,
            )
            cache = None if is_ours() else start_cache(storage)
            parts = {"work": work, "dataset": dataset, "curves": CurveReader(storage, cache)}
            trainable = tune.with_parameters(
                run_trial,
                parts={name: ray.put(part) for name, part in parts.items()},
                cells={cell.cell_id: _pickled(cell) for cell in plan.left},
            )
            launched = _Launched(trainable, plan, work, stopping, cluster)
            try:
                return launched.run_all(slots)
            finally:
                notice.stage = "leaving Ray"
                work.forget_signals(cluster.drained)
                if cache is not None:
                    ray.kill(cache)


def _wait(cluster: Room, plan: Plan) -> list[Mapping[str, float]]:
    """Wait until there is room for a trial; return what each node has."""
    order = Order({cell.cell_id: cell.probe_id for cell in plan.left}, plan.stored)
    cluster.wait(order.demand())
    return [node.resources for node in cluster.nodes()]


@contextlib.contextmanager
def _fit_nodes(
    cluster: Room, dataset: Any, storage: Path, launch_id: str
) -> Iterator[Question | None]:
    """Ask the nodes whether they can run trials; yield what those that come later are asked.

    A Ray of our own is on this machine, which has the driver's code and storage.
    """
    slots = cluster.slots
    if cluster.options.address is None:
        check_here(gpus=slots.gpus > 0)
        yield None
        return
    data: dict[str, Any] = {"files": first_files(dataset), "data_bytes": bytes_sent(dataset)}
    with asking(storage, launch_id, gpus=slots.gpus > 0, **data) as question:
        check_nodes([n for n in cluster.nodes() if has_room(n.resources, slots)], question, storage)
        yield question


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
    cluster: Room

    def run_all(self, slots: Slots) -> bool:
        """Run every cell, and those once more that ran out of memory on a GPU that they shared."""
        storage, cells = self.work.storage, list(self.plan.left)
        complete = self.run(cells, slots)
        while complete and 0 < slots.gpus < 1 and (cells := _out_of_memory(cells, storage)):
            share = min(1.0, 2 * slots.gpus)
            more = replace(self.cluster.options, gpus_per_trial=share, cpus_per_trial=slots.cpus)
            slots = self.cluster.take(more)
            complete = self.run(cells, slots)
        return complete

    def run(self, cells: Sequence[PlannedCell], slots: Slots) -> bool:
        """Run some cells of the plan; return whether each was run to its end, good or bad."""
        storage = self.work.storage
        order = Order({cell.cell_id: cell.probe_id for cell in cells}, self.plan.stored)
        searcher = OrderSearcher(order, InStorage(storage), room=self.cluster)

        def tell() -> None:
            order.stop()
            Flag(self.work.stop_file).put_up()

        with self.stopping.telling(tell):
            _fit(self.trainable, searcher, slots, self.work, self.cluster)
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


def _fit(trainable: Any, searcher: OrderSearcher, slots: Slots, work: Work, cluster: Room) -> None:
    """Let Ray Tune run until the searcher is finished or a signal stops it."""
    storage = work.storage
    state = storage / TUNE / f"{work.launch_id}-{uuid.uuid4().hex[:4]}"
    tuner = tune.Tuner(
        tune.with_resources(trainable, partial(resources_of, slots.bundle)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=MOST_TRIALS,  # the searcher follows the cluster's room
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=state.name,
            storage_path=str(state.parent),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[
                LostTrials(searcher, CellStore(storage)),
                FollowNodes(cluster, searcher.order, work),
            ],
            verbose=0,
        ),
    )
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),  # what Ray prints is for people
            environment(QUIET_TUNE | FOR_ALL_WORKERS),
            without_copies(),
        ):
            tuner.fit()
    except (ray.exceptions.RayError, tune.TuneError, OSError, EOFError) as error:
        raise BackendError(
            f"Ray Tune stopped: {type(error).__name__}: {error}\n"
            f"Finished cells are in {address_of(storage) or storage}; run the same command again "
            f"to go on."
        ) from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
        with contextlib.suppress(OSError):  # another command may be running
            state.parent.rmdir()


def resources_of(bundle: Mapping[str, float], config: Mapping[str, Any]) -> Any:
    """Return what a trial asks of Ray; not on the nodes that its config names."""
    if not (closed := config.get("not_on")):
        return tune.PlacementGroupFactory([dict(bundle)])
    where: Any = [{"ray.io/node-id": f"!in({','.join(closed)})"}]
    return tune.PlacementGroupFactory([dict(bundle)], bundle_label_selector=where)
