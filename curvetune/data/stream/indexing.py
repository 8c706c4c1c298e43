"""Looks at every image of a table once per machine: which can be used, and what they are.

One pass hashes the bytes, decodes what has no shard yet and writes the shards. What it found is
kept under the stamps of the files (stamps.py), so that the next command reads none of them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from curvetune.data import duplicates
from curvetune.data.duplicates import Sample
from curvetune.data.own.left_out import LeftOut
from curvetune.data.pixels import Encoded, Positions
from curvetune.data.stream import survey
from curvetune.data.stream.pixels import ShardPixels
from curvetune.data.stream.report import OnBad, Report, complaint
from curvetune.data.stream.shards import MARK_BYTES, Shards
from curvetune.data.stream.survey import Survey
from curvetune.data.tables.encoded import Chosen
from curvetune.data.tables.table import Table
from curvetune.errors import DataError


@dataclass(frozen=True, eq=False)
class Indexed:
    """A table of good images, with their pixels, (N + N_test, 3, H, W)."""

    table: Table
    pixels: ShardPixels
    report: Report
    digest: str


# Makes the digest of a table: of its rows, the SHA-256 of each, (N, 32), and what was converted
DigestOf = Callable[[Table, NDArray[np.uint8], Mapping[str, int]], str]


def index(table: Table, size: int, on_bad: OnBad, digest: DigestOf | None = None) -> Indexed:
    """Return the images that can be used, and what became of the others.

    Args:
        size: height and width that they are resized to.
        digest: makes the digest of those that are used; of all that is known of them, if None.

    Raises:
        DataError: some cannot be used, and `on_bad` is fail; or one changes while it is read.
        ConfigError: CURVETUNE_CACHE_GB is no size.
    """
    found = survey.of(table.encoded, size)
    if found.bad and on_bad == "fail":
        raise DataError(complaint(_bad(table.encoded, found), len(table.encoded)))
    good = np.setdiff1d(np.arange(len(table.encoded)), list(found.bad)).astype(np.int64)
    used = only(table, good)
    marks = np.ascontiguousarray(found.sums[:, :MARK_BYTES])
    shards = Shards(table.encoded, size, marks, found.addresses)
    sums, contents = found.sums, found.contents
    if len(good) < len(sums):  # else a copy of a million is 48 MB
        sums, contents = sums[good], contents[good]
    return Indexed(
        used,
        ShardPixels(shards, good),
        _report(used, table.encoded, found, contents, sums),
        (digest or _digest)(used, sums, found.converted),
    )


def only(table: Table, good: Positions) -> Table:
    """Return some rows of a table, in their order; the table itself if these are all."""
    if len(good) == len(table.encoded):
        return table
    train = good[good < table.train]
    return replace(
        table,
        encoded=Chosen(table.encoded, good),
        train=len(train),
        y=table.y[good],
        y_true=None if table.y_true is None else table.y_true[train],
        verified=None if table.verified is None else table.verified[train],
        clean=None if table.clean is None else np.flatnonzero(np.isin(train, table.clean)),
    )


def _report(
    used: Table,
    encoded: Encoded,
    found: Survey,
    contents: NDArray[np.uint8],
    sums: NDArray[np.uint8],
) -> Report:
    return Report(
        train=used.train,
        test=len(sums) - used.train,
        classes=used.class_names,
        converted=found.converted,
        bad=_bad(encoded, found),
        left_out=LeftOut(),
        counted=False,
        copies=replace(
            duplicates.copies_of(list(_copied(used, contents, sums))), test=len(sums) - used.train
        ),
    )


def _copied(used: Table, contents: NDArray[np.uint8], sums: NDArray[np.uint8]) -> Iterator[Sample]:
    """Yield the images that are there more than once: few, of however many there are."""
    rows = _alike(contents)
    keys = np.ascontiguousarray(contents[rows]).view(f"V{contents.shape[1]}")[:, 0]
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    for k in rows[counts[group] > 1].tolist():
        yield Sample(
            used.encoded.name(k),
            k >= used.train,
            used.class_names[used.y[k]],
            contents[k].tobytes().hex(),
            sums[k].tobytes().hex(),
        )


def _alike(contents: NDArray[np.uint8]) -> Positions:
    """Return the rows that may be there more than once, by the first half of their digests."""
    half = np.ascontiguousarray(contents[:, :8]).view(np.uint64)[:, 0]
    order = np.sort(half)
    return np.flatnonzero(np.isin(half, np.unique(order[1:][order[1:] == order[:-1]])))


def _digest(used: Table, sums: NDArray[np.uint8], converted: Mapping[str, int]) -> str:
    """Return a digest of the rows: their names, labels and bytes, and all else that is known."""
    known = [None if a is None else a.tolist() for a in (used.y_true, used.verified, used.clean)]
    rows = (
        [used.encoded.name(k), label, found]
        for k, (label, found) in enumerate(zip(used.y.tolist(), hexadecimal(sums), strict=True))
    )
    return digest_of(chain([list(used.class_names), used.train, known], rows))


def digest_of(parts: Iterable[object]) -> str:
    """Return the SHA-256 of the JSON of a list of these parts, of which one is held at a time."""
    total = hashlib.sha256(b"[")
    for k, part in enumerate(parts):
        total.update(f"{', ' if k else ''}{json.dumps(part)}".encode())
    total.update(b"]")
    return total.hexdigest()


def hexadecimal(sums: NDArray[np.uint8]) -> Iterator[str]:
    """Yield each digest, of (N, …) bytes, as text."""
    return (found.tobytes().hex() for found in sums)


def _bad(encoded: Encoded, found: Survey) -> tuple[tuple[str, str], ...]:
    """Return the name of each bad image, and why it cannot be used."""
    return tuple((encoded.name(row), found.bad[row]) for row in sorted(found.bad))
