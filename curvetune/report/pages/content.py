"""What the page of a grid shows: tables, figures, and a section for each cell."""

import base64
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from curvetune.analysis.suspects import find_suspects
from curvetune.data.duplicates import words
from curvetune.errors import CurvetuneError, printable
from curvetune.grids.cells import Cell, Grid, Select
from curvetune.grids.copies import copies_in
from curvetune.grids.labels import setting_parts
from curvetune.report.figures import FORMATS, Drawn, file_of
from curvetune.report.figures.gather import CellFiles, GridImages
from curvetune.report.figures.of_grid import (
    OF_GRID,
    baseline_of,
    draw_all,
    draw_cell,
    first_seeds,
)
from curvetune.report.numbers import NOTHING
from curvetune.report.pages.suspects import thumbnail_uri
from curvetune.system.units import duration

SUSPECTS = 24  # thumbnails of a cell
CAPTIONS = {
    "settings": "Accuracy of each method in each setting, %, mean ± sd over seeds",
    "heat": "Accuracy of each method over imbalance and noise rate, %, mean over seeds",
    "heat-difference": "The same, in points over cross entropy",
    "accuracy-cost": "MA against the time of a cell",
    "ablation": "MA over the option that is varied",
    "learning": "Training loss and test accuracy",
    "loss-curves": "Loss of right and wrong labels in the probe, mean ± sd",
    "class-counts": "Samples of each given class, and how many of them are wrong",
    "weights": "Final weights of right and wrong labels, by given class",
    "weight-time": "By how much right labels outweigh wrong ones",
    "confusion": "Confusion matrices on the test images, cross entropy beside the method",
}
# Of those that speak of wrong labels, where nobody knows them.
UNKNOWN = {
    "loss-curves": "Loss of the given labels in the probe, mean ± sd",
    "class-counts": "Samples of each given class",
    "weights": "Final weights by given class",
}
OF_CELLS = ("learning", "weights", "confusion")  # that the page has; `figures` draws all
MIME = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """A figure as it stands in the page; or why there is none."""

    caption: str
    uri: str = ""
    problem: str = ""


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
    pictures: Sequence[Picture] = ()
    suspects: Sequence[Suspect] = ()
    suspects_note: str = ""


def pictures_of_grid(storage: Path, grid: Grid, select: Select) -> list[Picture]:
    """Return the figures of the whole grid."""
    drawn = draw_all(storage, grid, cells=(), only=tuple(OF_GRID), select=select)
    return [picture(one) for one in drawn if one.figure is not None or not one.is_missing]


def sections(
    storage: Path, grid: Grid, select: Select, data_dir: Path | None
) -> Iterator[CellSection]:
    """Return a section for each cell; figures and suspects for the first seed of each setting."""
    images = GridImages(grid, data_dir)
    first = {cell.cell_id for cell in first_seeds(grid)}
    for cell in grid.cells:
        if cell.result is None or cell.cell_id not in first:
            yield CellSection(*_head(grid, cell, select))
            continue
        files = CellFiles(storage, grid, cell, images)
        drawn = draw_cell(files, OF_CELLS, baseline_of(grid, cell))
        captions = CAPTIONS if _are_judged(files) else CAPTIONS | UNKNOWN
        pictures = [
            picture(one, captions) for one in drawn if one.figure is not None or not one.is_missing
        ]
        found, note = _suspects(storage, cell, images)
        yield CellSection(*_head(grid, cell, select), pictures, found, note)


def picture(drawn: Drawn, captions: Mapping[str, str] = CAPTIONS) -> Picture:
    """Return a figure as a data URI, in the form that is smaller."""
    caption = captions[drawn.name]
    if drawn.figure is None:
        return Picture(caption, problem=drawn.problem)
    files = [(form, file_of(drawn.figure, form)) for form in FORMATS]
    form, content = min(files, key=lambda item: len(item[1]))
    return Picture(caption, f"data:{MIME[form]};base64,{base64.b64encode(content).decode()}")


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
        ("data", f"content {grid.digest[:16]}"),
        *([("copies in it", "; ".join(words(copies)) or "none")] if copies is not None else []),
        ("devices", _each(result.get("device") for result in results)),
        ("versions", _each(_versions(result.get("versions")) for result in results)),
        ("commits", _each(result.get("commit") for result in results)),
        ("time of all cells and probes", duration(seconds)),
    ]
    if finished:
        facts.append(("finished", f"{_date(min(finished))} to {_date(max(finished))}"))
    return facts


def _head(grid: Grid, cell: Cell, select: Select) -> tuple[str, str, str, list[tuple[str, str]]]:
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
            ("accuracy, last / mean of last 10 / best", _three(cell)),
            ("per class, %", _per_class(result.get("per_class_accuracy"))),
            ("time", f"{cell.seconds or 0:.1f} s on {printable(result.get('device'))}"),
            ("what decides it", f"curvetune why {cell.cell_id}"),
        ]
    return cell.cell_id, title, NOTHING if accuracy is None else f"{accuracy:.2f} %", facts


def _three(cell: Cell) -> str:
    values = [cell.accuracy(select) for select in ("last", "last10", "best")]
    return " / ".join(NOTHING if value is None else f"{value:.2f}" for value in values)


def _per_class(values: object) -> str:
    if not isinstance(values, list) or len(values) > 20:
        return NOTHING
    return " ".join(f"{v:.1f}" if isinstance(v, int | float) else NOTHING for v in values)


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


def _are_judged(files: CellFiles) -> bool:
    try:
        return files.labels_are_judged
    except CurvetuneError:  # each figure that needs the split says what is wrong with it
        return files.truth_is_known


def _each(values: Iterable[object]) -> str:
    """Return each value once, in the order in which they come."""
    return ", ".join(dict.fromkeys(printable(value, 200) for value in values)) or NOTHING


def _versions(versions: object) -> str:
    if not isinstance(versions, dict):
        return NOTHING
    return " ".join(f"{name} {version}" for name, version in versions.items())


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) + " UTC"
