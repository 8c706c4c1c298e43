"""The images of a table, decoded: a stand-in that holds all of them in memory."""

import hashlib
import json
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvetune.data import duplicates
from curvetune.data.decode import BadImageError, decode
from curvetune.data.duplicates import Sample
from curvetune.data.folder import NAMED, OnBad, Report
from curvetune.data.listing import LeftOut
from curvetune.data.table import Table
from curvetune.data.tables.encoded import Chosen
from curvetune.errors import DataError, printable


@dataclass(frozen=True, eq=False)
class Indexed:
    """A table of good images, with their pixels, (N + N_test, 3, H, W)."""

    table: Table
    pixels: NDArray[np.uint8]
    report: Report
    digest: str


def index(table: Table, size: int, on_bad: OnBad) -> Indexed:
    """Return the images that can be used, and what became of the others.

    Raises:
        DataError: some cannot be used, and `on_bad` is fail.
    """
    x = np.empty((len(table.encoded), 3, size, size), np.uint8)
    sums, bad, changes = list[str](), dict[int, str](), Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on what it reads all the same
        for k in range(len(table.encoded)):
            try:
                (content,) = table.encoded.read(np.array([k]))
                found = decode(content, table.encoded.suffix(k), size)
            except (BadImageError, DataError) as error:
                bad[k] = str(error)
                continue
            x[len(sums)] = found.pixels
            sums.append(hashlib.sha256(content).hexdigest())
            changes.update(found.changes)
    named = tuple((table.encoded.name(k), reason) for k, reason in bad.items())
    if bad and on_bad == "fail":
        lines = [f"  {printable(file)}: {reason}" for file, reason in named[:NAMED]]
        how = "mend or remove them, or go on without them: --on-bad skip"
        head = f"{len(bad)} of {len(table.encoded)} images cannot be used"
        raise DataError("\n".join([head, *lines, how]))
    kept = only(table, np.setdiff1d(np.arange(len(table.encoded)), [*bad]).astype(np.int64))
    pixels = x[: len(sums)]
    report = _report(kept, pixels, sums, dict(sorted(changes.items())), named)
    return Indexed(kept, pixels, report, _digest(kept, sums))


def only(table: Table, good: NDArray[np.int64]) -> Table:
    """Return some rows of a table, in their order; the table itself if these are all."""
    if len(good) == len(table.encoded):
        return table
    train = good[good < table.train]
    clean = table.clean
    return replace(
        table,
        encoded=Chosen(table.encoded, good),
        train=len(train),
        y=table.y[good],
        y_true=None if table.y_true is None else table.y_true[train],
        verified=None if table.verified is None else table.verified[train],
        clean=None if clean is None else np.flatnonzero(np.isin(train, clean)),
    )


def _report(
    table: Table,
    pixels: NDArray[np.uint8],
    sums: list[str],
    converted: dict[str, int],
    bad: tuple[tuple[str, str], ...],
) -> Report:
    samples = [
        Sample(
            table.encoded.name(k),
            k >= table.train,
            table.class_names[table.y[k]],
            duplicates.content(pixels[k]),
            sums[k],
        )
        for k in range(len(sums))
    ]
    return Report(
        train=table.train,
        test=len(sums) - table.train,
        classes=table.class_names,
        converted=converted,
        bad=bad,
        left_out=LeftOut(),
        counted=False,
        copies=duplicates.copies_of(samples),
    )


def _digest(table: Table, sums: list[str]) -> str:
    """Return a digest of the rows: their names, labels and bytes, and all else that is known."""
    known = [None if a is None else a.tolist() for a in (table.y_true, table.verified, table.clean)]
    parts: list[Any] = [list(table.class_names), table.train, known]
    names = (table.encoded.name(k) for k in range(len(sums)))
    parts += [list(row) for row in zip(names, table.y.tolist(), sums, strict=True)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
