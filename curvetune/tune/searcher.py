"""Order in the words of Ray Tune: a config to run, None to wait, FINISHED when no more will come.

Facts about Ray Tune 2.60 that this file relies on (docs/architecture.md): while trials run, None is
asked again about ten times a second; while none runs it blocks, so None must not be answered then.
"""

import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from curvetune.tune.order import Order


class OrderSearcher(Searcher):
    """Gives Ray Tune the cells of an `Order`, at most `slots` at a time."""

    def __init__(
        self, order: Order, has_probe: Callable[[str], bool], *, poll_s: float = 5.0
    ) -> None:
        """Take the order and how to ask the storage for a probe.

        Args:
            poll_s: least time between two looks at the storage for probes that cells wait for;
                they may come from another grid.
        """
        super().__init__(metric=None, mode=None)
        self.order = order
        self._has_probe = has_probe
        self._poll_s = poll_s
        self._asked = time.monotonic()
        self._slots: int | None = None
        self._cells: dict[str, str] = {}  # trial -> the cell that it runs
        self._failed: set[str] = set()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Keep the limit here: Ray's own limiter never frees the slot of a trial that it aborts."""
        self._slots = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the config of the next cell, None to be asked again, or FINISHED."""
        if self.order.finished():
            return Searcher.FINISHED
        if self._slots is not None and len(self._cells) >= self._slots:
            return None
        cell = self.order.next()
        if cell is None and self._found_a_probe():
            cell = self.order.next()
        if cell is None:
            return None
        self._cells[trial_id] = cell
        return {"cell_id": cell}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Release those who wait for a probe that is now stored; remember a failure."""
        if result.get("stage") == "stored":
            self.order.probe_ready(result["probe_id"])
        if "failed" in result:
            self._failed.add(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle the trial's cell, once."""
        cell = self._cells.pop(trial_id, None)
        if cell is not None:
            self.order.settled(cell, failed=error or trial_id in self._failed)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the storage is the truth, and no run is ever restored by Ray."""

    def _found_a_probe(self) -> bool:
        now = time.monotonic()
        if now - self._asked < self._poll_s:
            return False
        self._asked = now
        found = [probe for probe in self.order.waits_for() if self._has_probe(probe)]
        for probe in found:
            self.order.probe_ready(probe)
        return bool(found)
