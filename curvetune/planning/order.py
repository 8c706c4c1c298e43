"""Which cell runs next, so that none holds a device while it waits for another's curves.

The cells that read one probe are a group. While its curves are missing, one cell leads the group:
it runs the probe on its way. The others wait until the leader has *said* that the curves are
stored, which is long before it ends; if it fails before that, the next of the group takes over.

Another command on the same storage may hold a cell or a probe (store/lease.py). Such a cell is set
aside, and such a probe waited for, until the other one has ended with it, in whichever way.
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
        self._elsewhere: dict[str, None] = {}  # cells that another command runs, in order
        self._led_elsewhere: set[str] = set()  # probes that another command makes
        self._groups: dict[str, deque[str]] = {}
        self._free: deque[str] = deque()
        self.stopped = False
        for cell, probe in cells.items():
            queue = self._free if probe is None else self._groups.setdefault(probe, deque())
            queue.append(cell)

    def next(self) -> str | None:
        """Return a cell that may start now and count it as running; None if all left must wait."""
        if self.stopped:
            return None
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
        self._led_elsewhere.discard(probe)

    def busy(self, cell: str, *, with_probe: bool) -> None:
        """Take note that a running cell gave up: another command has it, or makes its probe."""
        self._running.remove(cell)
        probe = self._probe_of[cell]
        if probe is not None and self._leaders.get(probe) == cell:
            del self._leaders[probe]
        if with_probe and probe is not None:
            self._led_elsewhere.add(probe)
            self._groups.setdefault(probe, deque()).appendleft(cell)
        else:
            self._elsewhere[cell] = None

    def elsewhere(self) -> list[str]:
        """Return the cells that another command runs, as far as is known."""
        return list(self._elsewhere)

    def led_elsewhere(self) -> list[str]:
        """Return the probes that another command makes, as far as is known."""
        return list(self._led_elsewhere)

    def done_elsewhere(self, cell: str) -> None:
        """Take note that another command has the result of a cell."""
        del self._elsewhere[cell]

    def free_again(self, *, cell: str | None = None, probe: str | None = None) -> None:
        """Take note that another command left a cell, or a probe, without a result."""
        if probe is not None:
            self._led_elsewhere.discard(probe)
        if cell is not None:
            del self._elsewhere[cell]
            reads = self._probe_of[cell]
            queue = self._free if reads is None else self._groups.setdefault(reads, deque())
            queue.append(cell)

    def stop(self) -> None:
        """Hand out no more cells."""
        self.stopped = True

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
        """Return the probes that cells wait for while another makes them, here or elsewhere."""
        making = [*self._leaders, *self._led_elsewhere]
        return [probe for probe in making if probe in self._groups]

    def returned(self, cell: str) -> None:
        """Take note that a running cell gave up through no fault of its own: it may start again."""
        self.busy(cell, with_probe=False)
        self.free_again(cell=cell)

    def demand(self) -> int:
        """Return how many cells run or could start now."""
        if self.stopped:
            return len(self._running)
        made = {*self._leaders, *self._led_elsewhere}
        startable = sum(
            len(group) if probe in self._ready else probe not in made
            for probe, group in self._groups.items()
        )
        return len(self._running) + len(self._free) + startable

    def finished(self) -> bool:
        """Say whether `next` will never again return a cell."""
        return self.stopped or not (self._groups or self._free or self._elsewhere)

    def complete(self) -> bool:
        """Say whether every cell has been run and has ended."""
        return self.finished() and not self._running and not self.stopped

    def _next_leader(self) -> str | None:
        for probe in self._groups:
            if probe not in {*self._ready, *self._leaders, *self._led_elsewhere}:
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
