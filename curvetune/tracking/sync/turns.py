"""Turns at writing a grid to the tracker: two drivers of one grid must not make a run twice.

Who has it holds the lease of the folder grids/.sync/<name>.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from curvetune.errors import BusyError, StorageError
from curvetune.store.lease import Lease, leased
from curvetune.store.names import sync_folder

ASK_AGAIN_S = 0.2


class Turns:
    """The turns of one process."""

    def __init__(self, storage: Path | str, grid: str) -> None:
        self._folder = sync_folder(storage, grid)
        self._last: int | None = None

    @contextlib.contextmanager
    def turn(self, *, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the turn while the block runs; say whether nobody had one since ours.

        Where the storage cannot be written (it is read-only, or full) there are no turns.

        Raises:
            BusyError: another process has it, still after `wait_s`.
        """
        with contextlib.ExitStack() as stack:
            token = None
            with contextlib.suppress(StorageError, OSError):
                token = self._wait(stack, time.monotonic() + wait_s).token
            alone = token is not None and self._last is not None and token == self._last + 1
            self._last = token
            yield alone

    def _wait(self, stack: contextlib.ExitStack, deadline: float) -> Lease:
        while True:
            try:
                return stack.enter_context(leased(self._folder))
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(ASK_AGAIN_S)
