"""A storage with what tables are made of, and no more: the same from a grid and from its bundle.

Both compute their tables in such a one. So what a table says of a file that is damaged or missing
is the same in both, too.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from curvetune.bundles.contents import lighter
from curvetune.bundles.layout import STORAGE
from curvetune.grids.cells import Grid, read_grid
from curvetune.store.files import read_published, write_atomic
from curvetune.store.names import CELLS, CONFIG, DONE, HISTORY, PROBES, SAMPLES

LIGHT = (CONFIG, HISTORY, SAMPLES)  # of a cell
Read = Callable[[], Iterable[bytes]]


def lay_out(root: Path, name: str, files: Iterable[tuple[str, Read]]) -> Grid:
    """Put what tables need of a bundle's files into the empty folder `root`; return the grid.

    Args:
        files: of a bundle, by path, and how to read each.

    Raises:
        CorruptError: one is damaged.
        ConfigError: there is no such grid among them.
    """
    for path, read in files:
        top, _, inside = path.partition("/")
        kind, _, rest = inside.partition("/")
        if top != STORAGE or kind == PROBES:
            continue
        file = rest.rpartition("/")[2]
        if kind != CELLS or file in (*LIGHT, DONE):
            write_atomic(root / inside, read(), durable=False)
        if kind == CELLS and file == DONE:
            done = read_published(root / inside)
            write_atomic(root / inside, lighter(done, LIGHT), durable=False)
    return read_grid(root, name)
