"""The terminal as we use it: text is text, whatever it says."""

from typing import Any

from rich.console import Console

UNFOLDED = 1_000_000  # letters to a line of a pipe or a file, which programs read


def plain_console(**options: Any) -> Console:
    """Return rich's console, which takes no `[red]` for a colour and no `:x:` for a picture.

    What it prints can be anybody's: names of grids, options and errors come out of files. Only a
    terminal has a width: what goes into a pipe or a file is not folded.
    """
    console = _Console(markup=False, emoji=False, **options)
    if "width" not in options and not console.is_terminal:
        console.width = UNFOLDED
    return console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to cli/process/streams.py what becomes of a reader that left."""
        raise  # what rich is handling just now
