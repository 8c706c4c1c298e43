"""The terminal as we use it: text is text, whatever it says."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

LINE_S = 5.0  # between two lines of progress where there is no terminal


def plain_console(**options: Any) -> Console:
    """Return rich's console, which takes no `[red]` for a colour and no `:x:` for a picture.

    What it prints can be anybody's: names of grids, options and errors come out of files.
    """
    return _Console(markup=False, emoji=False, **options)


@contextlib.contextmanager
def progress(what: str = "page") -> Iterator[Callable[[str], None]]:
    """Give a function that hears how far something is, and tells it on standard error.

    On a terminal it is one line that goes at the end; elsewhere a line every few seconds.
    """
    console = plain_console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(what, refresh_per_second=4) as status:
            yield lambda words: status.update(f"{what}: {words}")
        return
    told_at = time.monotonic()

    def tell(words: str) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= LINE_S:
            told_at = time.monotonic()
            console.print(f"{what}: {words}", highlight=False, soft_wrap=True)

    yield tell


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to cli/process/streams.py what becomes of a reader that left."""
        raise  # what rich is handling just now
