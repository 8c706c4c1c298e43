"""Images in Parquet files, written anew: a file for each file, without some rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curvetune.cleaning.target import Target
from curvetune.errors import DataError, printable


@dataclass(frozen=True)
class RowChanges:
    """What becomes of rows, by file relative to the data's folder and by row, from 0.

    Args:
        column: of the labels.
        changes: the new class; None takes the row out.
        y: the class of rows that are trained on.
    """

    column: str
    changes: Mapping[str, Mapping[int, int | None]]
    y: Mapping[str, Mapping[int, int]]


def write_parquet(
    data_dir: Path, train: Sequence[str], others: Sequence[str], rows: RowChanges, target: Target
) -> None:
    """Write the files to train on without some rows; the others are taken as they are.

    A row group is held at a time. The schema, with the names of the classes, stays.

    Raises:
        DataError: a file cannot be read.
    """
    written = _written(data_dir, train, rows)
    for name in train:
        changes = rows.changes.get(name, {})
        if not changes:
            target.take(name)
            continue
        try:
            _write_file(data_dir / name, target.path(name), rows.column, changes, written)
        except pa.ArrowException as error:
            raise DataError(
                f"{printable(data_dir / name)}: cannot be written again ({printable(error)}); copy "
                f"or download it again"
            ) from None
    for name in others:
        target.take(name)


def _write_file(
    path: Path,
    target: Path,
    column: str,
    changes: Mapping[int, int | None],
    written: Mapping[int, Any],
) -> None:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        with pq.ParquetWriter(target, schema) as out:
            first = 0
            for k in range(file.num_row_groups):
                group = file.read_row_group(k)
                out.write_table(_changed(group, schema, column, changes, written, first))
                first += len(group)


def _changed(
    group: pa.Table,
    schema: pa.Schema,
    column: str,
    changes: Mapping[int, int | None],
    written: Mapping[int, Any],
    first: int,
) -> pa.Table:
    """Return a row group, whose first row has that number, with the changes made."""
    labels, kept = group.column(column).to_pylist(), [True] * len(group)
    for row in range(len(group)):
        if first + row in changes:
            new = changes[first + row]
            kept[row] = new is not None
            labels[row] = labels[row] if new is None else written[new]
    place = schema.get_field_index(column)
    array = pa.array(labels, type=schema.field(place).type)
    return group.set_column(place, schema.field(place), array).filter(pa.array(kept))


def _written(data_dir: Path, train: Sequence[str], rows: RowChanges) -> dict[int, Any]:
    """Return of each class that a row gets how the files write it."""
    wanted = {new for of in rows.changes.values() for new in of.values() if new is not None}
    found: dict[int, Any] = {}
    for name in train:
        if wanted <= found.keys():
            break
        labels = pq.read_table(data_dir / name, columns=[rows.column], partitioning=None)
        texts = labels.column(0).to_pylist()
        for row, k in rows.y.get(name, {}).items():
            found.setdefault(k, texts[row])
    return found
