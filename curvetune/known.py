"""What a storage knows of a grid already: which cells and probes are there, and of its data.

Of the data it keeps sizes of classes, copies and bad images.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from curvetune.errors import CorruptError

if TYPE_CHECKING:
    from curvetune.data import ClassSizes, Dataset, Report
    from curvetune.planning.plan import Plan
    from curvetune.store import CellStore, CurveStore
    from curvetune.system.source_code import Code

CLASS_SIZES = "class_sizes"  # among the facts of the data, as grids/own.py reads them


def keep_facts(
    report: "Report | None", dataset: "Dataset", sizes: "ClassSizes", digest: str, storage: Path
) -> None:
    """Keep what the data has more than once, and how large its classes are; of arrays, count first.

    Raises:
        StorageError: it cannot be written.
    """
    from curvetune.data import duplicates
    from curvetune.store.facts import read_facts, write_facts

    known = read_facts(storage, digest) or {}
    if report is not None:
        facts = report.copies.to_json()
    elif set(known) - {CLASS_SIZES}:
        facts = known
    else:
        train, test = ((images.x, images.y) for images in (dataset.train, dataset.test))
        samples = duplicates.samples_of(train, test, dataset.class_names)
        facts = duplicates.copies_of(list(samples)).to_json()
    if (facts := facts | {CLASS_SIZES: sizes.to_json()}) != known:
        write_facts(storage, digest, facts)


def keep_sizes(plan: "Plan", storage: Path) -> None:
    """Keep how large the classes of a plan's data are, where an older version has not.

    Raises:
        StorageError: it cannot be written.
    """
    from curvetune.store.facts import read_facts, write_facts

    known = read_facts(storage, plan.digest) or {}
    if plan.sizes is not None and CLASS_SIZES not in known:
        write_facts(storage, plan.digest, known | {CLASS_SIZES: plan.sizes.to_json()})


def sizes_of(dataset: "Dataset") -> "ClassSizes":
    """Return how many images of each class a data set has, without its clean set."""
    from curvetune.data import ClassSizes

    train, test = dataset.train.y, dataset.test.y
    return ClassSizes.of(train, test, dataset.num_classes, dataset.clean)


def write_bad_list(report: "Report | None", digest: str, storage: Path) -> Path | None:
    """Write which images were left out, and why, to the storage; return the file, if any.

    Raises:
        StorageError: it cannot be written.
    """
    if report is None or not report.bad:
        return None
    from curvetune.store.facts import facts_file
    from curvetune.store.files import write_atomic

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *report.bad])
    path = facts_file(storage, digest, "-bad.csv")
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path


def is_done(store: "CellStore", made: "list[Code]", cell_id: str) -> bool:
    """Say whether a cell has a result, and note which code made it."""
    from curvetune.system.source_code import code_of

    result = store.result(cell_id)
    if result is not None:
        made.append(code_of(result))
    return result is not None


def has_probe(store: "CurveStore", tell: Callable[[str], object], probe_id: str) -> bool:
    """Say whether a probe is there; a damaged one is not, which is told."""
    try:
        store.manifest(probe_id)
    except CorruptError as error:
        if store.has_manifest(probe_id):
            tell(f"probe {probe_id} is damaged and will be trained again: {error}")
        return False
    return True
