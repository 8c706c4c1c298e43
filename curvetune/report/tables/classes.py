"""The accuracy of each class: which classes a method gives up for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from curvetune.errors import printable
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.labels import Setting, setting_parts
from curvetune.report.document import Document
from curvetune.report.numbers import percent
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import footnotes

MOST = 20  # classes that have a column each
TENTH = 10


@dataclass(frozen=True)
class _Row:
    """A method in a setting: the accuracies of each class, over seeds."""

    label: str
    setting: Setting
    classes: tuple[tuple[float | None, ...], ...]  # None of a class without test images

    @property
    def seeds(self) -> int:
        return len(self.classes[0])

    def values(self) -> list[list[float]]:
        """Return the accuracies of each class, those that are known."""
        return [[value for value in seeds if value is not None] for seeds in self.classes]

    @property
    def means(self) -> list[float | None]:
        return [fmean(values) if values else None for values in self.values()]


def classes_document(grid: Grid, select: Select) -> Document:
    """Return the accuracy of each class, by method and setting, as a mean over seeds.

    They are of the last epoch whatever is selected: a result has no others.
    """
    rows, names = _rows(grid), _names(grid)
    count = max((len(row.classes) for row in rows), default=0)
    names = names if len(names) == count else [str(k) for k in range(count)]
    few = count <= MOST
    header = ("method", "setting", *(names if few else _SUMMARY), "seeds")
    body = tuple(
        (
            row.label,
            _setting(row.setting, grid),
            *map(percent, row.means if few else _summary(row.means)),
            str(row.seeds),
        )
        for row in rows
    )
    titles = tuple((title,) for title in header)
    title = f"{grid.title}: accuracy (%) of each class, mean over seeds"
    sheet = Sheet(title, titles, body, keys=2, words=2)
    records = tuple(record for row in rows for record in _records(row, names))
    notes = [
        "the accuracy of the last epoch on the test images of each class",
        *([] if few else [f"{count} classes: as CSV or JSON each one has a row"]),
    ]
    return Document("classes", grid.name, (sheet,), records, (*notes, *footnotes(grid)[1:]))


_SUMMARY = ("lowest", "mean of the lowest tenth", "median", "highest")


def _summary(means: Sequence[float | None]) -> list[float | None]:
    ordered = sorted(mean for mean in means if mean is not None)
    if not ordered:
        return [None] * len(_SUMMARY)
    tenth = ordered[: max(1, len(ordered) // TENTH)]
    return [ordered[0], fmean(tenth), median(ordered), ordered[-1]]


def _rows(grid: Grid) -> list[_Row]:
    found: dict[tuple[str, Setting], list[Sequence[float | None]]] = {}
    for cell in grid.cells:
        values = _per_class(cell)
        if values:
            found.setdefault((cell.label, cell.setting), []).append(values)
    return [
        _Row(label, setting, tuple(zip(*seeds, strict=True)))
        for (label, setting), seeds in found.items()
        if len({len(one) for one in seeds}) == 1
    ]


def _per_class(cell: Cell) -> Sequence[float | None] | None:
    values = (cell.result or {}).get("per_class_accuracy")
    is_list = isinstance(values, list) and all(
        one is None or isinstance(one, int | float) for one in values
    )
    return values if is_list else None


def _names(grid: Grid) -> list[str]:
    for cell in grid.cells:
        facts = (cell.result or {}).get("classifier")
        names = facts.get("class_names") if isinstance(facts, Mapping) else None
        if isinstance(names, list):
            return [printable(name) for name in names]
    return []


def _setting(setting: Setting, grid: Grid) -> str:
    return ", ".join(setting_parts(setting, grid.settings))


def _records(row: _Row, names: Sequence[str]) -> list[dict[str, Any]]:
    setting = row.setting
    return [
        {
            "method": row.label,
            "data": setting.data,
            "model": setting.model,
            "imbalance": setting.imbalance,
            "noise": setting.noise,
            "noise_rate": setting.noise_rate,
            "class": name,
            "accuracy": fmean(values) if values else None,
            "std": stdev(values) if len(values) > 1 else None,
            "seeds": len(values),
        }
        for name, values in zip(names, row.values(), strict=False)
    ]
