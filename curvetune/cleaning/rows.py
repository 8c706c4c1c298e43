"""A list of files written again: without some rows, and with other labels in some.

Everything else of a row stays as it is. A class is written as the list itself writes it elsewhere.
"""

import csv
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curvetune.data.labels import Classes
from curvetune.data.tables.columns import DELIMITERS, PARQUET, column_names
from curvetune.errors import DataError, printable

PATHS = ("path", "file", "file_name", "filename", "image")
LABELS = ("label", "class")


class Rewriting:
    """What becomes of the rows of a list.

    Args:
        names: of the classes, (K,).
        y: the class of each file that is trained on, by its path.
        changes: the new class of some of them; None takes the row out.
    """

    def __init__(
        self, names: Sequence[str], y: Mapping[str, int], changes: Mapping[str, int | None]
    ) -> None:
        self._classes = Classes(names)
        self._y = {plain(path): k for path, k in y.items()}
        self._changes = {plain(path): new for path, new in changes.items()}
        self._written: dict[int, Any] = {}  # of each class, how the list writes it

    def write(self, path: Path, target: Path) -> None:
        """Write the list in `path` to `target`, in the same form.

        Raises:
            DataError: it has no columns of paths and labels, or cannot be read.
        """
        suffix = path.suffix.lower()
        try:
            if suffix in PARQUET:
                self._write_parquet(path, target)
            elif suffix in DELIMITERS:
                self._write_cells(path, target, DELIMITERS[suffix])
            else:
                self._write_objects(path, target)
        except (csv.Error, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"{printable(path)}: cannot be written again ({printable(error)}); mend the list"
            ) from None

    def _write_cells(self, path: Path, target: Path, delimiter: str) -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
        at, label = _columns(path, [name.strip() for name in rows[0]])
        width = max(at, label) + 1
        kept = self._kept(
            [row[at].strip() for row in rows[1:] if len(row) >= width],
            [row[label].strip() for row in rows[1:] if len(row) >= width],
        )
        with target.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
            writer.writerow(rows[0])
            for row, (is_kept, new) in zip(rows[1:], kept, strict=False):
                if is_kept:
                    writer.writerow([new if k == label else cell for k, cell in enumerate(row)])

    def _write_objects(self, path: Path, target: Path) -> None:
        text = path.read_text(encoding="utf-8-sig")
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        names = column_names(path)
        at, label = (names[k] for k in _columns(path, names))
        kept = self._kept([str(row.get(at)) for row in rows], [row.get(label) for row in rows])
        with target.open("w", encoding="utf-8") as out:
            for row, (is_kept, new) in zip(rows, kept, strict=True):
                if is_kept:
                    out.write(json.dumps(row | {label: new}, ensure_ascii=False) + "\n")

    def _write_parquet(self, path: Path, target: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        at, label = _columns(path, table.column_names)
        paths = [str(value) for value in table.column(at).to_pylist()]
        kept = self._kept(paths, table.column(label).to_pylist())
        field = table.schema.field(label)
        column = pa.array([new for _, new in kept], type=field.type)
        table = table.set_column(label, field, column)
        pq.write_table(table.filter(pa.array([is_kept for is_kept, _ in kept])), target)

    def _kept(self, paths: Sequence[str], labels: Sequence[Any]) -> list[tuple[bool, Any]]:
        """Return of each row whether it stays, and the label that it has then."""
        keys = list(map(plain, paths))
        for key, label in zip(keys, labels, strict=True):
            if key in self._y:
                self._written.setdefault(self._y[key], label)
        return [
            (self._changes.get(key, 0) is not None, self._label(key, label))
            for key, label in zip(keys, labels, strict=True)
        ]

    def _label(self, key: str, label: Any) -> Any:
        new = self._changes.get(key)
        return label if new is None else self._written.get(new, self._classes.names[new])


def plain(path: str) -> str:
    """Return a path in the one form in which paths are compared."""
    return unicodedata.normalize("NFC", str(PurePosixPath(path)))


def _columns(path: Path, names: Sequence[str]) -> tuple[int, int]:
    """Return where the paths and the labels are."""
    found = [[k for k, name in enumerate(names) if name in of] for of in (PATHS, LABELS)]
    if not all(found):
        raise DataError(
            f"{printable(path)}: its columns are {printable(', '.join(names))}; allowed is one of "
            f"{', '.join(PATHS)}, and one of {', '.join(LABELS)}"
        )
    return found[0][0], found[1][0]
