"""A sign of life of what takes long: what is being done, and since when.

    with working("reading the images", console) as at:
        for k, image in enumerate(images):
            at(f"{k:,} of {len(images):,}")

Nothing is shown of what takes less than a second. Then a terminal has one line that changes and
goes at the end. Elsewhere it is a line every 2.5 seconds, and less often the longer it takes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from curvetune.system.units import duration

FIRST_S = 1.0  # what takes less needs no sign
EVERY_S = 2.5  # nobody wonders for so long whether it hangs
MOST_S = 30.0  # a log of hours stays short
PART = 1 / 24  # of the time that it took so far: the next sign comes within that

At = Callable[[str], None]


def until_next(seconds: float) -> float:
    """Return in how many seconds the next sign is due: in 2.5, and ever later, up to 30."""
    return min(MOST_S, max(EVERY_S, seconds * PART))


@contextlib.contextmanager
def working(what: str, console: Console | None) -> Iterator[At]:
    """Show on `console` what is being done while the block runs, if that takes a second.

    Args:
        what: "reading the images"; in the words of who waits for it.
        console: of stderr; None shows nothing.

    Yields:
        A function that hears how far it is, "7 of 24 cells". It costs nothing, from any thread.
    """
    signs = _Signs(what)
    if console is None:
        yield signs.at
        return
    thread = threading.Thread(target=signs.show_on, args=(console,), name="working", daemon=True)
    thread.start()
    try:
        yield signs.at
    finally:
        signs.over.set()
        thread.join()


class _Signs:
    """What there is to show, and when."""

    def __init__(self, what: str) -> None:
        self.over = threading.Event()
        self._what, self._far = what, ""
        self._began = time.monotonic()

    def at(self, far: str) -> None:
        self._far = far

    def words(self, *, first: bool) -> str:
        """Return what is done, how far it is, and for how long already."""
        far = f": {self._far}" if self._far else ""
        return f"{self._what}{far} …" if first else f"{self._what}{far} ({self._time()})"

    def show_on(self, console: Console) -> None:
        """Show it until it is over."""
        if self.over.wait(FIRST_S):
            return
        if console.is_terminal and not console.is_dumb_terminal:
            self._change_a_line(console)
        else:
            self._print_lines(console)

    def _change_a_line(self, console: Console) -> None:
        # no thread of Live's own, which would draw four times a second
        with Live(
            console=console, transient=True, redirect_stdout=False, auto_refresh=False
        ) as live:
            while not self.over.wait(1):
                live.update(Text(self.words(first=False), "dim"), refresh=True)

    def _print_lines(self, console: Console) -> None:
        first = True
        while True:
            console.print(self.words(first=first), markup=False, highlight=False, soft_wrap=True)
            first = False
            if self.over.wait(until_next(time.monotonic() - self._began)):
                return

    def _time(self) -> str:
        return duration(round(time.monotonic() - self._began))
