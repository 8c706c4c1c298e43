"""Runs the cells of a plan in several processes at once, until a time.

The processes are those of workers.py; this one decides who runs what. `curvetune.planning.order`
says when a cell may start. No cell starts or goes on that would not come to the end of an epoch in
time: it leaves a checkpoint and is resumed later.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from curvetune.data import Dataset
from curvetune.errors import CurvetuneError
from curvetune.offline.workers import SIGNALS, Message, Slice, Worker
from curvetune.planning.order import Order
from curvetune.planning.plan import Plan, PlannedCell
from curvetune.store import CellStore, CurveStore
from curvetune.store.names import CHECKPOINT
from curvetune.training.failures import LOST
from curvetune.training.split import prepare_splits


@dataclass
class Tally:
    """What became of the cells in this slice, by their ids."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)


def run_slice(
    plan: Plan, load: Callable[[], Dataset], slice_: Slice, say: Callable[[str, PlannedCell], None]
) -> Tally:
    """Run what `plan` has left until the deadline; return what became of it.

    Args:
        load: returns the data; called while the processes start.
        say: is told what became of a cell: `started`, `done`, `stopped …` or `failed: …`.

    Raises:
        DataError: the data is bad, or cannot give a split.
        CurvetuneError: all processes died.
    """
    with _signals() as asked:
        count = min(slice_.workers, len(plan.left))
        workers = [Worker(slice_, asked.is_set) for _ in range(count)]
        try:
            dataset = load()
            configs = [cell.config for cell in plan.left]
            prepare_splits(configs, slice_.digest, dataset, slice_.storage)
            for worker in workers:
                with contextlib.suppress(OSError):  # a dead one is found below
                    worker.pipe.send(dataset)
            return _Round(plan, slice_, workers, asked.is_set, say).run()
        finally:
            for worker in workers:
                worker.end()


class _Round:
    """Hands out cells and hears what became of them."""

    def __init__(
        self,
        plan: Plan,
        slice_: Slice,
        workers: list[Worker],
        asked: Callable[[], bool],
        say: Callable[[str, PlannedCell], None],
    ) -> None:
        self._cells = {cell.cell_id: cell for cell in _begun_first(plan.left, slice_.storage)}
        probes = {cell_id: cell.probe_id for cell_id, cell in self._cells.items()}
        self._order = Order(probes, plan.stored, followers_first=True)
        self._slice = slice_
        self._workers = {worker.pipe: worker for worker in workers}
        self._asked = asked
        self._say = say
        self.tally = Tally()

    def run(self) -> Tally:
        """Go on until nothing runs any more."""
        while self._workers:
            self._hand_out()
            running = [pipe for pipe, worker in self._workers.items() if worker.cell is not None]
            left = self._slice.end - time.monotonic()
            if left <= 0:
                self._cut_off()
            if not running or left <= 0:
                return self.tally
            for pipe in wait(running, timeout=min(left, 3600.0)):
                assert isinstance(pipe, Connection)
                self._hear(pipe)
        raise CurvetuneError(
            "all worker processes died, and cells are left to run; FAILED.json of the cells that "
            "they ran, and what they printed, say why: run the same command again, with fewer "
            "--workers if memory ran out"
        )

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            if worker.cell is None and not worker.is_over and not self._is_over():
                cell_id = self._order.next()
                if cell_id is None:
                    return
                self._say("started", self._cells[cell_id])
                worker.start(self._cells[cell_id])

    def _is_over(self) -> bool:
        return self._asked() or time.monotonic() > self._slice.last_start

    def _hear(self, pipe: Connection) -> None:
        worker = self._workers[pipe]
        assert worker.cell is not None
        try:
            what, name, why = pipe.recv()
        except (EOFError, OSError):
            what, name, why = self._lost(worker)
        if what == "stored":
            self._order.probe_ready(name)
            return
        worker.cell = None
        worker.is_over = what == "stopped"
        self._order.settled(name, failed=what != "done")
        if what == "done":
            self.tally.done.append(name)
        else:
            (self.tally.failed if what == "failed" else self.tally.stopped)[name] = why
        self._say(f"failed: {why}" if what == "failed" else why or what, self._cells[name])

    def _cut_off(self) -> None:
        """Take note of the cells that did not stop in time."""
        for worker in self._workers.values():
            if worker.cell is not None:
                why = "stopped within an epoch, which is lost, as are those since its checkpoint"
                self.tally.stopped[worker.cell.cell_id] = why
                self._say(why, worker.cell)

    def _lost(self, worker: Worker) -> Message:
        """Take note that a process died while it ran a cell."""
        assert worker.cell is not None
        del self._workers[worker.pipe]
        worker.process.join(timeout=10)
        reason = f"its process died (exit code {worker.process.exitcode})"
        CellStore(self._slice.storage).fail(
            worker.cell.cell_id, reason, "it left no log", kind=LOST
        )
        return "failed", worker.cell.cell_id, reason


def _begun_first(cells: tuple[PlannedCell, ...], storage: Path) -> list[PlannedCell]:
    """Return the cells, those first that have a checkpoint, their own or their probe's."""

    def is_new(cell: PlannedCell) -> bool:
        folders = [CellStore(storage).folder(cell.cell_id)]
        if cell.probe_id is not None:
            folders.append(CurveStore(storage).folder(cell.probe_id))
        return not any((folder / CHECKPOINT).exists() for folder in folders)

    return sorted(cells, key=is_new)


@contextlib.contextmanager
def _signals() -> Iterator[Any]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one acts as usual."""
    asked = multiprocessing.get_context("spawn").Event()
    before = {name: signal.getsignal(name) for name in SIGNALS}

    def stop(_signal: int, _frame: object) -> None:
        asked.set()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, stop)
    try:
        yield asked
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
