"""Shows how a grid comes along: a live table on a terminal, plain lines elsewhere.

All of it is read from the storage, so `curvetune status` shows the same from another terminal.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from curvetune.errors import CurvetuneError
from curvetune.grids.activity import GridProgress, grid_progress
from curvetune.grids.cells import GridReader
from curvetune.status.table import event_line, live_view, summary_line
from curvetune.store.lease import storage_time
from curvetune.system.progress import until_next
from curvetune.system.terminal import plain_console
from curvetune.system.units import duration

POLL_S = 1.0  # between two looks at the storage
STOP_S = 5.0  # how long the end may wait for the last look

logger = logging.getLogger(__name__)


class View(Protocol):
    """Something that shows progress."""

    def show(self, progress: GridProgress, note: str = "") -> None:
        """Show how far the grid is now, and what else there is to say."""
        ...

    def close(self) -> None:
        """Show nothing more."""
        ...


class LiveProgress:
    """Shows the progress of a grid while the block that it opens runs.

    Cells that neither began nor failed since then count as waiting: the grid is to run them.
    """

    def __init__(
        self,
        storage: Path | str,
        grid: str,
        console: Console | None = None,
        *,
        only: Collection[str] | None = None,
        until: Mapping[str, int] | None = None,
        note: Callable[[], str] = str,
        stage: Callable[[], str] = str,
    ) -> None:
        """Show `grid` of `storage`, or only some of its cells.

        Args:
            until: the epochs at which cells are to pause.
            note: returns what else there is to say now; an empty text if nothing.
            stage: returns what is done now before and after cells run; shown while none does.
        """
        self._console = console or plain_console(stderr=True)
        since = storage_time(Path(storage))  # whose time stamps it is compared with
        self._reader = GridReader(storage, grid, since=since, only=only)
        self._note, self._stage, self._until = note, stage, until
        self._past: str | None = None  # the stage that was over when the first cell began
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        """Look until it is over, and once more; training goes on whatever happens here."""
        try:
            view = view_on(self._console)
            stopping = False
            while not stopping:
                stopping = self._stop.is_set()  # before the last look, not after it
                self._look(view)
                self._stop.wait(POLL_S)
            view.close()
        except Exception:
            logger.exception("the progress cannot be shown; the grid goes on")

    def _look(self, view: View) -> None:
        """Read and show; what cannot be read now may be there next time, and is told once."""
        try:
            progress = grid_progress(self._reader.read(), until=self._until)
            view.show(progress, self._note() or self._stage_of(progress))
        except (CurvetuneError, OSError, ValueError, KeyError) as error:
            if repr(error) not in self._told:
                self._told.add(repr(error))
                logger.warning("the progress cannot be read: %r", error)

    def _stage_of(self, progress: GridProgress) -> str:
        """Return what is done while no cell runs, and for how long; empty where one does."""
        stage = self._stage()
        if progress.of("running"):
            self._past = stage
        return "" if progress.of("running") or stage == self._past else stage


class Note:
    """What there is to say beside the cells, and since when it is said."""

    def __init__(self) -> None:
        self.text = ""
        self._since = 0.0

    def timed(self, text: str, now: float) -> str:
        """Return `text`, with the time for which it has been the same."""
        if text != self.text:
            self.text, self._since = text, now
        seconds = round(now - self._since)
        return f"{text} ({duration(seconds)})" if text and seconds else text


class Screen:
    """A table that is drawn over and over at the bottom of a terminal, and goes at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # without a thread that draws the same four times a second: 2 % of a core
        self._live = Live(
            console=console, transient=True, redirect_stdout=False, auto_refresh=False
        )
        self._live.start()
        self._note = Note()

    def show(self, progress: GridProgress, note: str = "") -> None:
        words = self._note.timed(note, time.time())
        rows, width = max(4, self._console.height - 16), self._console.width
        view = live_view(progress, rows=rows, note=words, width=width)
        self._live.update(view, refresh=True)

    def close(self) -> None:
        self._live.stop()


class Lines:
    """A line for each cell that starts or ends, and between them a sign that the grid goes on.

    At first it comes every 2.5 seconds. The longer the grid runs, the more seldom.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] | None = None
        self._began = self._line_at = 0.0
        self._note = Note()

    def show(self, progress: GridProgress, note: str = "", now: float | None = None) -> None:
        now = time.time() if now is None else now
        if self._states is None:
            self._began = self._line_at = now
            self._states = {p.cell.cell_id: "waiting" for p in progress.of("running", "failed")}
        changed = [
            p
            for p in progress.cells
            if self._states.get(p.cell.cell_id, p.cell.state) != p.cell.state
        ]
        done = len(progress.of("done")) - sum(p.cell.state == "done" for p in changed)
        for p in changed:
            done += p.cell.state == "done"
            self._print(event_line(p, progress.grid, done), now)
        self._states = {p.cell.cell_id: p.cell.state for p in progress.cells}
        is_new, words = note != self._note.text, self._note.timed(note, now)
        # half a look early: the next one may be late
        if is_new or now - self._line_at >= until_next(now - self._began) - POLL_S / 2:
            self._print(words or summary_line(progress), now)

    def close(self) -> None:
        """Nothing is left open."""

    def _print(self, line: str, now: float) -> None:
        self._line_at = now
        clock = time.strftime("%H:%M:%S")
        self._console.print(f"{clock} {line}", markup=False, highlight=False, soft_wrap=True)


def view_on(console: Console) -> View:
    """Return what suits the console."""
    is_screen = console.is_terminal and not console.is_dumb_terminal
    return Screen(console) if is_screen else Lines(console)
