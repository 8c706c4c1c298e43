"""Follows a grid from another terminal until it is complete, from files alone.

Who runs the grid, and whether it still does, is told by the leases of its cells (store/lease.py):
a cell whose process is gone is stale, not running.
"""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console

from curvetune.errors import CurvetuneError
from curvetune.grids.activity import GridProgress, grid_progress
from curvetune.grids.cells import GridReader
from curvetune.status.live import View, view_on
from curvetune.status.table import counts_line, print_status, progress_json
from curvetune.system.terminal import plain_console

logger = logging.getLogger(__name__)


def watch(
    storage: Path,
    grid: str,
    *,
    every_s: float,
    given_storage: Path | None = None,
    as_json: bool = False,
    console: Console | None = None,
    wait: Callable[[float], None] | None = None,
) -> None:
    """Show how `grid` comes along, until every cell is done or has failed, or until Ctrl-C.

    Args:
        every_s: seconds between two looks at the storage.
        given_storage: what --storage was given, if it was.
        as_json: print a line of JSON for each look.
        wait: sleeps between two looks; KeyboardInterrupt there ends it.

    Raises:
        ConfigError: the storage has no such grid.
    """
    console = console or plain_console()
    reader = GridReader(storage, grid)
    progress = grid_progress(reader.read())  # raises for a wrong name, and only then
    view: View = JsonLines(storage, given_storage) if as_json else view_on(console)
    complete = False
    if not (as_json or console.is_terminal):  # where only changes are told from here on
        console.print(counts_line(progress), highlight=False, soft_wrap=True)
    with _interrupted_between_looks() as sleep:
        try:
            while not complete:
                view.show(progress, idle_note(progress))
                complete = is_complete(progress)
                if not complete:
                    (wait or sleep)(every_s)
                    progress = _look(reader) or progress
        except KeyboardInterrupt:
            pass
        finally:
            view.close()
    if complete and not as_json:
        print_status(progress, console, storage, given_storage)
    elif not as_json:
        console.print(counts_line(progress), highlight=False, soft_wrap=True)


@contextmanager
def _interrupted_between_looks() -> Iterator[Callable[[float], None]]:
    """Yield a sleep that Ctrl-C ends; amid a line, it would have that printed twice.

    A second Ctrl-C ends a look as well, at a storage that does not answer.
    """
    pressed = threading.Event()
    previous = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    def sleep(seconds: float) -> None:
        if pressed.wait(seconds):
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield sleep
    finally:
        signal.signal(signal.SIGINT, previous)


def is_complete(progress: GridProgress) -> bool:
    """Say whether nothing is left that a command on this grid would have to run."""
    return len(progress.of("done", "failed", "paused")) == len(progress.cells)


def idle_note(progress: GridProgress) -> str:
    """Return what to do if nobody runs a grid that is not complete; nothing if somebody does."""
    if is_complete(progress) or progress.of("running"):
        return ""
    stale = len(progress.of("stale"))
    left = f" ({stale} begun and left)" if stale else ""
    return (
        f"no living process works on a cell now{left}; unless a command is just starting, go on "
        f"with: {progress.grid.command}"
    )


class JsonLines:
    """A line of JSON for each look."""

    def __init__(self, storage: Path, given_storage: Path | None) -> None:
        self._storage = storage
        self._given_storage = given_storage

    def show(self, progress: GridProgress, note: str = "") -> None:
        content = progress_json(progress, self._storage, self._given_storage)
        typer.echo(json.dumps(content | {"note": note}))

    def close(self) -> None:
        """Nothing is left open."""


def _look(reader: GridReader) -> GridProgress | None:
    """Return how far the grid is; None if that cannot be read just now."""
    try:
        return grid_progress(reader.read())
    except (CurvetuneError, OSError, ValueError, KeyError) as error:
        logger.warning("the progress cannot be read: %r", error)
        return None
