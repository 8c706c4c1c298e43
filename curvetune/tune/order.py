"""Which cell runs next, so that none holds a device while it waits for another's curves.

The cells that read one probe are a group. While its curves are missing, one cell leads the group:
it runs the probe on its way. The others wait until the leader has *said* that the curves are
stored, which is long before it ends; if it fails before that, the next of the group takes over.
"""

from collections import deque
from collections.abc import Collection, Mapping


class Order:
    """Hands out cells, each once: leaders first, then those whose curves are there, then the rest.

    Leaders come first because others wait for them. No call here ever blocks.
    """

    def __init__(
        self,
        cells: Mapping[str, str | None],
        stored: Collection[str] = (),
        *,
        followers_first: bool = False,
    ) -> None:
        """Take every cell with the probe that it reads (or None), and the probes that are there.

        Args:
            followers_first: end what reads the curves at hand before new ones are made, so that
                few of them have to be kept at a time.
        """
        self._followers_first = followers_first
        self._probe_of = dict(cells)
        self._ready = set(stored)
        self._leaders: dict[str, str] = {}  # probe -> the running cell that makes it
        self._running: set[str] = set()
        self._groups: dict[str, deque[str]] = {}
        self._free: deque[str] = deque()
        for cell, probe in cells.items():
            queue = self._free if probe is None else self._groups.setdefault(probe, deque())
            queue.append(cell)

    def next(self) -> str | None:
        """Return a cell that may start now and count it as running; None if all left must wait."""
        turns = [self._next_leader, self._next_follower]
        if self._followers_first:
            turns.reverse()
        cell = turns[0]() or turns[1]()
        if cell is None and self._free:
            cell = self._free.popleft()
        if cell is not None:
            self._running.add(cell)
        return cell

    def probe_ready(self, probe: str) -> None:
        """Take note that the curves of `probe` are stored: those who wait for it may start."""
        self._ready.add(probe)
        self._leaders.pop(probe, None)

    def settled(self, cell: str, *, failed: bool) -> None:
        """Take note that a running cell has ended; a failed leader's group gets a new one."""
        if cell not in self._running:
            raise ValueError(f"{cell!r} is not running")
        self._running.remove(cell)
        probe = self._probe_of[cell]
        if probe is None or self._leaders.get(probe) != cell:
            return
        del self._leaders[probe]
        if not failed:
            self._ready.add(probe)

    def waits_for(self) -> list[str]:
        """Return the probes that cells wait for while another cell makes them."""
        return [probe for probe in self._leaders if probe in self._groups]

    def finished(self) -> bool:
        """Say whether `next` will never again return a cell."""
        return not self._groups and not self._free

    def complete(self) -> bool:
        """Say whether every cell has been run and has ended."""
        return self.finished() and not self._running

    def _next_leader(self) -> str | None:
        for probe in self._groups:
            if probe not in self._ready and probe not in self._leaders:
                self._leaders[probe] = cell = self._take(probe)
                return cell
        return None

    def _next_follower(self) -> str | None:
        probe = next((probe for probe in self._groups if probe in self._ready), None)
        return None if probe is None else self._take(probe)

    def _take(self, probe: str) -> str:
        """Remove and return the first waiting cell of a group; an empty group is dropped."""
        group = self._groups[probe]
        cell = group.popleft()
        if not group:
            del self._groups[probe]
        return cell
