"""Order in the words of Ray Tune: a config to run, None to wait, FINISHED when no more will come.

Facts about Ray Tune 2.60 that this file relies on (docs/architecture.md): while trials run, None is
asked again about ten times a second; while none runs it blocks, so None must not be answered then.
"""

import math
import time
from pathlib import Path
from typing import Any, Protocol

from ray.tune.search import Searcher

from curvetune.planning.order import Order
from curvetune.store import CellStore, CurveStore
from curvetune.store.lease import read_holder
from curvetune.training.failures import FULL
from curvetune.tune.nodes.room import Room

WAIT_S = 0.2


class OrderSearcher(Searcher):
    """Gives Ray Tune the cells of an `Order`, as many at a time as the cluster has room for."""

    def __init__(
        self, order: Order, others: "Others", *, room: Room | None = None, poll_s: float = 5.0
    ) -> None:
        """Take the order, and how to ask the storage what other commands do.

        Args:
            room: of the cluster, which may change; without it, what Tune says once is the limit.
            poll_s: least time between two looks at the storage.
        """
        super().__init__(metric=None, mode=None)
        self.order = order
        self._others = others
        self._room = room
        self._poll_s = poll_s
        self._asked = time.monotonic()
        self._slots: int | None = None
        self._cells: dict[str, str] = {}  # trial -> the cell that it runs
        self._failed: set[str] = set()
        self._returned: set[str] = set()  # trials that gave their cell back
        self.storage_full: str | None = None  # what to say of it, if it is
        self._busy: dict[str, bool] = {}  # trial that gave up -> whether over the probe

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Keep the limit here: Ray's own limiter never frees the slot of a trial that it aborts."""
        self._slots = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the config of the next cell, None to be asked again, or FINISHED."""
        # A cell that runs may come back, if another command has it; Tune never asks after FINISHED.
        while not self.order.finished() or (self._cells and not self.order.stopped):
            if len(self._cells) >= self._limit():
                if self._cells:
                    return None
                self._follow()  # nothing runs, so no step of Tune's does it
                time.sleep(WAIT_S)
                continue
            cell = self.order.next()
            if cell is None and self._looked():
                cell = self.order.next()
            if cell is not None:
                self._cells[trial_id] = cell
                return self._config(cell)
            if self._cells:
                return None
            time.sleep(WAIT_S)  # nothing runs here, so Tune must not be told to ask again
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Release those who wait for a probe that is now stored; remember a failure."""
        if result.get("stage") == "stored":
            self.order.probe_ready(result["probe_id"])
        if result.get("stage") == "busy":
            self._busy[trial_id] = bool(result["with_probe"])
        if result.get("stage") in ("moved", "unfit"):
            self._returned.add(trial_id)
        if result.get("stage") == "unfit" and self._room is not None:
            self._room.close(result["node"], str(result["why"]))
        if "failed" in result:
            self._failed.add(trial_id)
        if result.get("kind") == FULL:  # every other cell would fail as well
            self.storage_full = str(result["failed"]).partition(": ")[2]
            self.order.stop()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle the trial's cell, once."""
        cell = self._cells.pop(trial_id, None)
        if cell is None:
            return
        if trial_id in self._returned:
            self.order.returned(cell)
            return
        with_probe = self._busy.pop(trial_id, None)
        if with_probe is not None:
            self.order.busy(cell, with_probe=with_probe)
        else:
            self.order.settled(cell, failed=error or trial_id in self._failed)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the storage is the truth, and no run is ever restored by Ray."""

    def _limit(self) -> float:
        """Return how many trials may run at once now."""
        told = math.inf if self._slots is None else self._slots
        return told if self._room is None else min(told, self._room.count())

    def _follow(self) -> None:
        if self._room is not None:
            self._room.look(self.order.demand())

    def _config(self, cell: str) -> dict[str, Any]:
        """Return the config of a trial; it says where it must not run."""
        closed = [] if self._room is None else sorted(self._room.closed)
        return {"cell_id": cell, **({"not_on": closed} if closed else {})}

    def _looked(self) -> bool:
        """Look at the storage, at most every `poll_s`; say whether that was done."""
        now = time.monotonic()
        if now - self._asked < self._poll_s:
            return False
        self._asked = now
        for probe in self.order.waits_for():
            if self._others.has_probe(probe):
                self.order.probe_ready(probe)
            elif probe in self.order.led_elsewhere() and not self._others.holds_probe(probe):
                self.order.free_again(probe=probe)
        for cell in self.order.elsewhere():
            if self._others.has_result(cell):
                self.order.done_elsewhere(cell)
            elif not self._others.holds_cell(cell):
                self.order.free_again(cell=cell)
        return True


class Others(Protocol):
    """What other commands on the same storage have done, and do now."""

    def has_probe(self, probe_id: str) -> bool:
        """Say whether a probe is stored."""
        ...

    def has_result(self, cell_id: str) -> bool:
        """Say whether a cell is done."""
        ...

    def holds_probe(self, probe_id: str) -> bool:
        """Say whether a process that is alive makes a probe."""
        ...

    def holds_cell(self, cell_id: str) -> bool:
        """Say whether a process that is alive runs a cell."""
        ...


class InStorage:
    """`Others`, as the storage shows them."""

    def __init__(self, root: Path) -> None:
        self._cells = CellStore(root)
        self._curves = CurveStore(root)

    def has_probe(self, probe_id: str) -> bool:
        """Say whether a probe is stored."""
        return self._curves.has(probe_id)

    def has_result(self, cell_id: str) -> bool:
        """Say whether a cell is done."""
        return self._cells.result(cell_id) is not None

    def holds_probe(self, probe_id: str) -> bool:
        """Say whether a process that is alive makes a probe."""
        return _is_held(self._curves.folder(probe_id))

    def holds_cell(self, cell_id: str) -> bool:
        """Say whether a process that is alive runs a cell."""
        return _is_held(self._cells.folder(cell_id))


def _is_held(folder: Path) -> bool:
    holder = read_holder(folder)
    return holder is not None and holder.alive
