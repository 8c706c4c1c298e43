"""Which of a grid's numbers a published number can stand beside."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curvetune.analysis.aggregate import scores
from curvetune.analysis.statistics import Mean, mean_accuracy
from curvetune.config import HUMAN
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.labels import Setting
from curvetune.report.published.numbers import Column, Library, Published, PublishedRow


@dataclass(frozen=True)
class Place:
    """The settings of a grid that a column is of, with one kind of noise."""

    kind: str | None  # None where no label is wrong
    settings: tuple[Setting, ...]
    needed: int  # how many the column is of

    @property
    def is_whole(self) -> bool:
        """Whether the grid has all of them."""
        return len(self.settings) == self.needed


@dataclass(frozen=True)
class Match:
    """A published number and ours."""

    table: Published
    row: PublishedRow
    column: Column
    kind: str | None
    label: str
    ours: Mean
    done: int  # cells
    wanted: int
    published: float

    @property
    def difference(self) -> float | None:
        """Ours minus the published one, in points."""
        return None if self.ours.mean is None else self.ours.mean - self.published


def places(grid: Grid, table: Published, column: Column) -> list[Place]:
    """Return where a column is in `grid`, once per kind of noise that could be meant."""
    kinds = table.noise_of(column)
    found = [one for one in _on_data(grid, table, column) if one.model == table.model]
    if not found:
        return []
    there = {setting.noise for setting in found}
    needed = len(column.imbalance) * len(column.noise_rate)
    shown: list[str | None] = [kind for kind in kinds if kind in there]
    return [
        Place(kind, tuple(s for s in found if s.noise in (kind, None)), needed)
        for kind in shown or [None]
    ]


def elsewhere(grid: Grid, found: Library) -> Iterator[tuple[Published, int, list[Setting]]]:
    """Yield each column on people's labels that `grid` has, but of another classifier.

    A column is told by its table and its number there, with the settings of the grid on its labels.
    """
    for table in found.tables:
        for k, column in enumerate(table.columns):
            ours = _on_data(grid, table, column) if HUMAN & {*table.noise_of(column)} else []
            if ours and all(setting.model != table.model for setting in ours):
                yield table, k, ours


def _on_data(grid: Grid, table: Published, column: Column) -> list[Setting]:
    """Return the settings that a column is of, whatever their classifier."""
    kinds = table.noise_of(column)
    return [
        setting
        for setting in grid.settings
        if setting.data == table.data_of(column)
        and setting.imbalance in column.imbalance
        and setting.noise_rate in column.noise_rate
        and (setting.noise in kinds or (setting.noise is None and not HUMAN & {*kinds}))
    ]


def labels_of(grid: Grid, row: PublishedRow) -> list[str]:
    """Return the labels of `grid` that are a row's method."""
    return [label for label, cells in grid.methods().items() if row.is_of(method_of(cells[0]))]


def method_of(cell: Cell) -> dict[str, Any]:
    """Return the method's section of a cell's config."""
    return dict(cell.config["method"])


def ours(grid: Grid, label: str, place: Place, select: Select) -> tuple[Mean, int, int]:
    """Return a method's mean over the settings of `place`, and how many of its cells are done."""
    cells = [cell for cell in grid.methods()[label] if cell.setting in place.settings]
    values = scores(cells, select)
    return mean_accuracy(place.settings, values), len(values), len(cells)


def matches(grid: Grid, found: Library, select: Select) -> Iterator[Match]:
    """Yield every published accuracy that has a counterpart among the cells of `grid`."""
    for table in found.tables:
        for k, column in enumerate(table.columns):
            if table.quantity_of(column) == "ms":
                continue
            for place in filter(lambda one: one.is_whole, places(grid, table, column)):
                yield from _matches(grid, table, k, place, select)


def _matches(grid: Grid, table: Published, k: int, place: Place, select: Select) -> Iterator[Match]:
    for row in table.rows:
        value = row.values[k]
        for label in labels_of(grid, row) if value is not None else ():
            mean, done, wanted = ours(grid, label, place, select)
            if value is not None and wanted:
                yield Match(
                    table, row, table.columns[k], place.kind, label, mean, done, wanted, value
                )
