"""A list of files written again: without some rows, and with other labels in some.

Everything else of a row stays as it is. A class is written as the list itself writes it elsewhere.
"""

import csv
import json
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curvetune.data.labels import Classes
from curvetune.data.labels_csv import place
from curvetune.data.tables.columns import DELIMITERS, PARQUET, column_names
from curvetune.data.tables.listed import CLEAN, LABEL, PATHS, VERIFIED
from curvetune.errors import DataError, printable

Find = Callable[[Path, Sequence[str]], tuple[int, int]]  # the columns of paths and of labels
FLAGS = (VERIFIED, CLEAN)  # what a list says of a label, no longer true of another label


class Rewriting:
    """What becomes of the rows of a list.

    Args:
        names: of the classes, (K,).
        y: the class of each file that is trained on, by its path.
        changes: the new class of some of them; None takes the row out.
        others: paths that are not trained on, which a path in another form of Unicode is not.
    """

    def __init__(
        self,
        names: Sequence[str],
        y: Mapping[str, int],
        changes: Mapping[str, int | None],
        others: Collection[str] = (),
    ) -> None:
        self._classes = Classes(names)
        self._y = y
        self._changes = changes
        self._known = {*y, *others}
        self._forms = {unicodedata.normalize("NFC", path): path for path in y}
        self._written: dict[int, Any] = {}  # of each class, how the list writes it

    def write(self, path: Path, target: Path, find: Find) -> None:
        """Write the list in `path` to `target`, in the same form.

        Args:
            find: the columns that whoever reads the list takes.

        Raises:
            DataError: it has no columns of paths and labels, or cannot be read.
        """
        suffix = path.suffix.lower()
        try:
            if suffix in PARQUET:
                self._write_parquet(path, target, find)
            elif suffix in DELIMITERS:
                self._write_cells(path, target, DELIMITERS[suffix], find)
            else:
                self._write_objects(path, target, find)
        except (csv.Error, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"{printable(path)}: cannot be written again ({printable(error)}); mend the list"
            ) from None

    def _write_cells(self, path: Path, target: Path, delimiter: str, find: Find) -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
        names = rows[0]
        at, label = find(path, names)
        blank = _flags(names, find)
        # a short row has "" in the cells that it lacks, as for whoever reads it
        padded = [row + [""] * (max(at, label) + 1 - len(row)) for row in rows[1:]]
        kept = self._kept([row[at] for row in padded], [row[label].strip() for row in padded])
        with target.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
            writer.writerow(names)
            for row, full, one in zip(rows[1:], padded, kept, strict=True):
                if one.is_changed:
                    cells = [one.label if k == label else cell for k, cell in enumerate(full)]
                    writer.writerow(["" if k in blank else c for k, c in enumerate(cells)])
                elif one.is_kept:
                    writer.writerow(row)

    def _write_objects(self, path: Path, target: Path, find: Find) -> None:
        with path.open(encoding="utf-8-sig") as file:  # str.splitlines would cut at U+2028 too
            rows = [json.loads(line) for line in file if line.strip()]
        names = column_names(path)
        at, label = (names[k] for k in find(path, names))
        kept = self._kept([str(row.get(at)) for row in rows], [row.get(label) for row in rows])
        for name in (names[k] for k in _flags(names, find)):
            _blank_texts(rows, name, [one.is_changed for one in kept])
        with target.open("w", encoding="utf-8") as out:
            for row, one in zip(rows, kept, strict=True):
                if one.is_kept:
                    out.write(json.dumps(row | {label: one.label}, ensure_ascii=False) + "\n")

    def _write_parquet(self, path: Path, target: Path, find: Find) -> None:
        table = pq.read_table(path, partitioning=None)
        names = table.column_names
        at, label = find(path, names)
        paths = [str(value) for value in table.column(at).to_pylist()]
        kept = self._kept(paths, table.column(label).to_pylist())
        field = table.schema.field(label)
        column = pa.array([one.label for one in kept], type=field.type)
        table = table.set_column(label, field, column)
        changed = pa.array([one.is_changed for one in kept])
        for k in _flags(names, find):
            field = table.schema.field(k)
            without = pc.if_else(changed, pa.scalar(None, field.type), table.column(k))
            table = table.set_column(k, field.with_nullable(True), without)
        pq.write_table(table.filter(pa.array([one.is_kept for one in kept])), target)

    def _kept(self, paths: Sequence[str], labels: Sequence[Any]) -> list["_Row"]:
        """Return of each row whether it stays, and the label that it has then."""
        keys = list(map(self._key, paths))
        for key, label in zip(keys, labels, strict=True):
            if key in self._y:
                self._written.setdefault(self._y[key], label)
        return [self._row(key, label) for key, label in zip(keys, labels, strict=True)]

    def _key(self, text: str) -> str:
        """Return the path that a row names: itself, else the one in another form of Unicode."""
        path = str(PurePosixPath(text.strip()))
        if path in self._known:
            return path
        return self._forms.get(unicodedata.normalize("NFC", path), path)

    def _row(self, key: str, label: Any) -> "_Row":
        if key not in self._changes:
            return _Row(True, False, label)
        new = self._changes[key]
        if new is None:
            return _Row(False, False, label)
        return _Row(True, True, self._written.get(new, self._classes.names[new]))


class _Row(NamedTuple):
    """What becomes of a row."""

    is_kept: bool
    is_changed: bool
    label: Any


def list_columns(path: Path, names: Sequence[str]) -> tuple[int, int]:
    """Return where data.name=list finds the paths and the labels.

    Raises:
        DataError: it finds none.
    """
    found = [name for name in PATHS if name in names]
    if len(found) != 1 or LABEL not in names:
        raise DataError(
            f"{printable(path)}: its columns are {printable(', '.join(names))}; allowed is one of "
            f"{', '.join(PATHS)}, and {LABEL}"
        )
    return names.index(found[0]), names.index(LABEL)


def labels_csv_columns(path: Path, names: Sequence[str]) -> tuple[int, int]:
    """Return where a folder's labels.csv has the files and the labels.

    Raises:
        DataError: it has none.
    """
    return place(path, list(names), "file"), place(path, list(names), "label")


def _flags(names: Sequence[str], find: Find) -> list[int]:
    """Return the columns that say something of a label; labels.csv has none that are read."""
    return [k for k, name in enumerate(names) if name in FLAGS and find is list_columns]


def _blank_texts(rows: list[dict[str, Any]], name: str, blanked: Sequence[bool]) -> None:
    """Take a flag out of some objects, in place.

    Readers take the type of a column from the first object, so all are texts then, as "" is.
    """
    if not any(blanked):
        return
    for row, is_blank in zip(rows, blanked, strict=True):
        value = row.get(name)
        text = value if isinstance(value, str) else json.dumps(value)
        row[name] = "" if is_blank or value is None else text
