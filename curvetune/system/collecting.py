"""When Python looks for objects that hold each other, which takes a tenth of a plan or a report.

It looks each time that some hundred objects more are there. Plans and tables of thousands of cells
make them by the hundred thousand, and keep them: there is nothing to find.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_collected() -> Iterator[None]:
    """Let Python not look for such objects while the block, or the function, runs."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
