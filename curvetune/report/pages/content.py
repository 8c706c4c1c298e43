"""What the page of a grid shows: what ran, and a section for each cell."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from curvetune.analysis.divergence import divergence, divergence_words
from curvetune.analysis.suspects import find_suspects
from curvetune.data.duplicates import words
from curvetune.errors import CurvetuneError, printable
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.copies import copies_in
from curvetune.grids.labels import setting_parts
from curvetune.report.figures.gather import CellFiles, GridImages
from curvetune.report.figures.of_grid import baseline_of, first_seeds
from curvetune.report.numbers import NOTHING
from curvetune.report.pages.charts import Chart
from curvetune.report.pages.of_cell import charts_of_cell, class_name
from curvetune.report.pages.options import cell_options
from curvetune.report.pages.suspects import thumbnail_uri

Told = Callable[[str], None]  # hears how far something is


def nobody(_: str) -> None:
    """Hear nothing."""


SUSPECTS = 24  # thumbnails of a cell


@dataclass(frozen=True)
class Suspect:
    """A training sample whose label is likely wrong."""

    rank: int
    image: str  # as a data URI; empty where it is large or not here
    text: str
    is_wrong: bool


@dataclass(frozen=True)
class CellSection:
    """One cell of the grid."""

    cell_id: str
    title: str
    accuracy: str
    facts: Sequence[tuple[str, str]]
    options: Sequence[tuple[str, str]]
    diverged: str = ""
    charts: Sequence[Chart] = ()
    suspects: Sequence[Suspect] = ()
    suspects_note: str = ""


def sections(
    storage: Path, grid: Grid, select: Select, data_dir: Path | None, told: Told = nobody
) -> Iterator[CellSection]:
    """Return a section for each cell; charts and suspects for the first seed of each setting.

    Args:
        told: hears how far it is.
    """
    images = GridImages(grid, data_dir)
    first = {cell.cell_id for cell in first_seeds(grid) if cell.result is not None}
    count = 0
    for cell in grid.cells:
        files = CellFiles(storage, grid, cell, images)
        head = _head(grid, cell, select, images.class_names), cell_options(cell), _diverged(files)
        if cell.cell_id not in first:
            yield CellSection(*head[0], *head[1:])
            continue
        count += 1
        told(f"cell {count} of {len(first)}: {cell.label}")
        other = baseline_of(grid, cell)
        baseline = None if other is None else files.beside(other)
        charts = list(charts_of_cell(files, baseline, images.class_names))
        found, note = _suspects(storage, cell, images)
        yield CellSection(*head[0], *head[1:], charts, found, note)


def ran_on(storage: Path, grid: Grid) -> list[tuple[str, str]]:
    """Return what ran, on what, how long, and how to repeat it."""
    results = [cell.result for cell in grid.cells if cell.result is not None]
    finished = [cell.finished for cell in grid.cells if cell.finished]
    seconds = sum(cell.seconds or 0.0 for cell in grid.cells)
    counts = ", ".join(f"{n} {state}" for state, n in grid.counts().items() if n)
    copies = copies_in(storage, grid.digest)
    facts = [
        ("cells", counts),
        ("command", grid.command),
        *([("profile", ", ".join(grid.profiles))] if grid.stamp else []),
        ("data", f"content {grid.digest[:16]}"),
        *([("copies in it", "; ".join(words(copies)) or "none")] if copies is not None else []),
        ("devices", _each(result.get("device") for result in results)),
        ("versions", _each(_versions(result.get("versions")) for result in results)),
        ("commits", _each(result.get("commit") for result in results)),
        ("time of all cells and probes", f"{seconds / 3600:.2f} device-hours"),
    ]
    if finished:
        facts.append(("finished", f"{_date(min(finished))} to {_date(max(finished))}"))
    return facts


def _diverged(files: CellFiles) -> str:
    """Return where the training of a cell diverged, in words; empty if it did not."""
    try:
        probe, final = files.rows()
    except CurvetuneError:  # the chart of its training says what is wrong with them
        return ""
    return divergence_words([*divergence("probe", probe), *divergence("allocate", final)])


def _head(
    grid: Grid, cell: Cell, select: Select, names: Sequence[str]
) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Return the id, title, accuracy and facts of a cell."""
    title = ", ".join(
        [cell.label, *setting_parts(cell.setting, grid.settings), f"seed {cell.seed}"]
    )
    accuracy = cell.accuracy(select)
    result = cell.result or {}
    facts = [("state", str(cell.state)), ("cell", cell.cell_id)]
    facts += [("probe", cell.probe_id)] if cell.probe_id else []
    facts += [("error", cell.error)] if cell.error else []
    if cell.result is not None:
        facts += [
            (f"accuracy, last / mean of last {grid.last_epochs} / best", _three(cell)),
            ("per class, %", _per_class(result.get("per_class_accuracy"), names)),
            ("time", f"{cell.seconds or 0:.1f} s on {printable(result.get('device'))}"),
            ("what decides it", f"curvetune why {cell.cell_id}"),
        ]
    return cell.cell_id, title, NOTHING if accuracy is None else f"{accuracy:.2f} %", facts


def _three(cell: Cell) -> str:
    values = [cell.accuracy(select) for select in ("last", "last10", "best")]
    return " / ".join(NOTHING if value is None else f"{value:.2f}" for value in values)


def _per_class(values: object, names: Sequence[str]) -> str:
    if not isinstance(values, list) or len(values) > 20:
        return NOTHING
    return ", ".join(
        f"{class_name(k, names)} {v:.1f}" if isinstance(v, int | float) else NOTHING
        for k, v in enumerate(values)
    )


def _suspects(storage: Path, cell: Cell, images: GridImages) -> tuple[list[Suspect], str]:
    """Return the likeliest wrong labels; none, and why, where that cannot be told."""
    try:
        found = find_suspects(storage, cell.cell_id, images=images.dataset, ask=False)
    except (CurvetuneError, ValidationError, ValueError, LookupError) as error:
        return [], printable(error, 300)
    wrong, suspects = found.wrong, []
    for rank, k in enumerate(found.order[:SUSPECTS], start=1):
        is_wrong = bool(wrong[k]) if wrong is not None else False
        true = int(found.split.y_true[k])
        truth = f", truly {found.name_of(true)}" if is_wrong and true >= 0 else ""
        index = int(found.split.train[k])
        suspects.append(
            Suspect(
                rank,
                thumbnail_uri(images.dataset, index),
                printable(f"{rank}. given {found.name_of(int(found.split.y[k]))}{truth}"),
                is_wrong,
            )
        )
    shown = int(wrong[found.order[:SUSPECTS]].sum()) if wrong is not None else None
    note = f"by {' and '.join(found.made_of)}"
    if shown is not None and wrong is not None:
        share = wrong[found.known].mean()
        of_all = "all" if found.known.all() else "those of which it is known"
        note += f"; {shown} of these {len(suspects)} are wrong, and {share:.0%} of {of_all}"
    return suspects, f"{note}; `curvetune suspects {cell.cell_id[:8]}` has more"


def _each(values: Iterable[object]) -> str:
    """Return each value once, in the order in which they come."""
    return ", ".join(dict.fromkeys(printable(value, 200) for value in values)) or NOTHING


def _versions(versions: object) -> str:
    if not isinstance(versions, dict):
        return NOTHING
    return " ".join(f"{name} {version}" for name, version in versions.items())


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) + " UTC"
