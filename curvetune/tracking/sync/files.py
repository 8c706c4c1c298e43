"""The files of a cell's run, and what is said of a training that diverged.

MLflow thins a long curve: of 20,000 points its chart drops a single NaN and a single spike. So a
divergence is a tag, a metric, a note and a mark in our own picture.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from curvetune.analysis.divergence import Fault, divergence, divergence_words
from curvetune.grids.cells import Cell, Rows
from curvetune.report.pages.of_cell import learning_chart
from curvetune.report.pages.pictures import picture
from curvetune.report.sheet import MARKDOWN
from curvetune.tracking.base import Point

DIVERGED = "curvetune.diverged"  # where, in words
METRIC = "diverged"  # epochs that did; none of a cell that did not
FAILED_AS = "diverged"  # the kind of a failure


def cell_files(cell: Cell, histories: Mapping[str, Rows]) -> dict[str, str]:
    """Return the files of a cell that is done, by name."""
    result = dict(cell.result or {})
    result.pop("files", None)
    files = {"result.json": json.dumps(result, indent=1) + "\n"}
    if any(histories.values()):
        chart = learning_chart(histories.get("probe", ()), histories["allocate"])
        files["learning.svg"] = picture(chart)
    if per_class := result.get("per_class_accuracy"):
        files["per_class.csv"] = _per_class(per_class, _class_names(result))
    return files


def faults_of(histories: Mapping[str, Rows]) -> list[Fault]:
    """Return where the stages of a cell diverged."""
    return [fault for stage, rows in histories.items() for fault in divergence(stage, rows)]


def diverged(cell: Cell, faults: Sequence[Fault]) -> str:
    """Return where a cell diverged, in words; empty if it did not, as far as is known."""
    if cell.failure is not None and cell.failure.get("kind") == FAILED_AS:
        return cell.error or FAILED_AS
    return divergence_words(faults)


def divergence_points(faults: Sequence[Fault], rows: Rows) -> list[Point]:
    """Return how many epochs diverged, if any did."""
    if not faults or not rows:
        return []
    return [Point(METRIC, float(len(faults)), rows[-1]["epoch"], rows[-1]["time"])]


def divergence_note(words: str) -> str:
    """Return the note of a cell that diverged, as Markdown."""
    return (
        f"**Diverged**: {words.translate(MARKDOWN)}. A chart of MLflow may not show it, since it "
        f"leaves points out of long curves; the artifact learning.svg does."
    )


def _per_class(values: Sequence[float | None], names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "accuracy"])
    for k, value in enumerate(values):
        name = names[k] if k < len(names) else str(k)
        writer.writerow([name, "" if value is None else f"{value:.2f}"])
    return text.getvalue()


def _class_names(result: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the classes; none in results of older versions."""
    names = (result.get("classifier") or {}).get("class_names")
    return names if isinstance(names, list) else ()
