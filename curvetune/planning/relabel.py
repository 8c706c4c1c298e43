"""What corrected labels do to the cells of a recorded grid: which become other cells.

A correction is of a sample of the data. It changes the cells whose training set has that sample
under another label. The rest of a split stays: the same images, the same wrong labels elsewhere,
the same meta set and test images. So a cell and what becomes of it are a true pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from curvetune.config import CellConfig

Labels = Mapping[int, int]  # sample -> class
LONGEST = 128  # characters of a grid's name


@dataclass(frozen=True)
class Change:
    """What corrections do to a cell.

    Args:
        config: of what becomes of it; the cell's own if no label changes.
        applied: labels of its training set that change.
        agreed: corrections that its training set has already.
    """

    old: CellConfig
    old_id: str
    new_id: str
    config: CellConfig
    applied: int
    agreed: int

    @property
    def is_changed(self) -> bool:
        """Whether it becomes another cell."""
        return self.new_id != self.old_id


@dataclass(frozen=True)
class Relabelling:
    """Corrections of the labels of a grid's data, and what they do to its finished cells.

    Args:
        base: name of the grid.
        name: of the grid that it becomes.
        size: number of corrections.
        empty: rows of the list without a label.
        unused: corrections of samples that no training set of these cells has.
        missing: cells of the grid that are not done, and so have nothing to compare with.
    """

    base: str
    name: str
    changes: tuple[Change, ...]
    size: int
    empty: int
    unused: int
    missing: int

    @property
    def changed(self) -> tuple[Change, ...]:
        """The cells that become others."""
        return tuple(change for change in self.changes if change.is_changed)


def relabelled_name(base: str, digest: str) -> str:
    """Return what a relabelled grid is called: after the grid, and the corrections' address."""
    ending = f"-relabelled-{digest[:8]}"
    return base.replace("@", "-")[: LONGEST - len(ending)] + ending
