"""How a command ends early: what the signals mean, and how the trials hear of it.

    SIGINT (Ctrl-C)     no new cells; the running ones end their epoch, keep a checkpoint and stop
    SIGINT again        all stops at once
    SIGTERM (preempted) like the first, but after `GRACE_S` all stops, checkpoint or not

Trials look for a file in the storage before every epoch: no message of Ray's reaches a function
that trains, and a file does so on any node.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE_S = 10.0  # from SIGTERM to the end of the process
RESERVE_S = 2.5  # of it, for the end of Ray and of the tracker

logger = logging.getLogger(__name__)


class Stopping:
    """Which signal asked this command to stop, if any, and what is to happen then."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._tell: Callable[[], None] | None = None
        self._handles = False

    @property
    def preempted(self) -> bool:
        """Whether it was SIGTERM."""
        return self.signal is signal.SIGTERM

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals while the block runs; outside `telling` they are a KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Tune sets the last
        before = {name: signal.getsignal(name) for name in names}
        self._install()
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    @contextlib.contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Let the first signal call `tell`; the end of a SIGTERM's grace is a KeyboardInterrupt."""
        # Not SIGUSR1, on which Tune ends in order: it gives each trial ten more seconds.
        timer = threading.Timer(GRACE_S - RESERVE_S, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True

        def told() -> None:
            tell()
            if self.preempted:
                timer.start()

        self._tell = told
        if self._handles:
            self._install()  # once more: the start of Ray has put its own in place
        try:
            yield
        finally:
            self._tell = None
            timer.cancel()

    def _install(self) -> None:
        self._handles = True
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        again = self.signal is not None
        self.signal = self.signal or signal.Signals(number)
        if again or self._tell is None:
            raise KeyboardInterrupt
        logger.warning(
            "stopping: running cells end their epoch and keep a checkpoint%s",
            f", for {GRACE_S:g} s at most" if self.preempted else "; Ctrl-C again to stop at once",
        )
        self._tell()
