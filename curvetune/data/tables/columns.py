"""The columns of a list, whatever its form, read by Arrow: all of them text, "" where nothing is.

CSV and TSV have a header; JSON lines have an object each; Parquet has names of its own.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from curvetune.data.tables.lines import wrong
from curvetune.data.tables.wrong_lines import not_text, records, wrong_object, wrong_record
from curvetune.errors import DataError, printable

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*DELIMITERS, *JSON_LINES, *PARQUET)
AT_ONCE, FEW = 16_384, 32_768  # rows that are looked at; texts that may be labels
TYPES: dict[type, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


@dataclass(frozen=True)
class Columns:
    """The columns of a list that were asked for and are there, of the same length."""

    path: Path
    of: Mapping[str, list[str]]

    def where(self, row: int) -> str:
        """Return where a row is, from 0: the line of a text file."""
        if self.path.suffix.lower() in PARQUET:
            return f"row {row}"
        with suppress(csv.Error):  # of a cell that is longer than Python's reader likes
            line = next(islice(self._lines(), row, None), None)
            if line is not None:
                return f"line {line}"
        return f"row {row}"

    def _lines(self) -> Iterator[int]:
        """Yield the first line of each row of a text file."""
        if (delimiter := DELIMITERS.get(self.path.suffix.lower())) is not None:
            yield from islice((line for line, _, _ in records(self.path, delimiter)), 1, None)
            return
        with self.path.open("rb") as file:
            yield from (line for line, text in enumerate(file, 1) if text.strip())


def column_names(path: Path) -> list[str]:
    """Return the names of all columns of a list.

    Raises:
        DataError: it cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in PARQUET:
            names: list[str] = pq.read_schema(path).names
            return names
        if suffix in DELIMITERS:
            return _header(path, DELIMITERS[suffix])[1]
        with path.open(encoding="utf-8-sig") as file:
            return list(_object(next((line for line in file if line.strip()), "{}")))
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def _header(path: Path, delimiter: str) -> tuple[int, list[str]]:
    """Return the line that the header ends with, and its cells; 0 and none of an empty file."""
    found = next(records(path, delimiter), None)
    return (0, []) if found is None else found[1:]


def plain_columns(path: Path) -> list[str]:
    """Return the names of the columns that hold texts or numbers, and no images.

    Raises:
        DataError: it cannot be read.
    """
    names = column_names(path)
    if path.suffix.lower() not in PARQUET:
        return names
    schema = pq.read_schema(path)
    return [name for name in names if _is_plain(schema.field(schema.get_field_index(name)).type)]


def _is_plain(kind: pa.DataType) -> bool:
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return not (pa.types.is_nested(kind) or is_bytes)


def read_columns(path: Path, wanted: Sequence[str]) -> Columns:
    """Return those of the columns `wanted` that are there.

    Raises:
        DataError: the file cannot be read, with the line or the row that is wrong.
    """
    suffix = path.suffix.lower()
    names = column_names(path)
    there = [name for name in wanted if name in names]
    if twice := [name for name in there if names.count(name) > 1]:
        raise DataError(
            f"{printable(path)}: it has {names.count(twice[0])} columns {twice[0]}; allowed is "
            f"one of each name: rename the others"
        )
    if not there:  # then the header is what is wrong, whatever comes below it
        return Columns(path, {})
    try:
        if suffix in PARQUET:
            table = pq.read_table(path, columns=there)
        elif suffix in DELIMITERS:
            table = _read_csv(path, there, DELIMITERS[suffix])
        else:
            table = _read_json(path, there)
        return Columns(path, {name: _texts(path, name, table.column(name)) for name in there})
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error, there) from None


def _read_csv(path: Path, there: list[str], delimiter: str) -> pa.Table:
    end, names = _header(path, delimiter)
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=end),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter),
        convert_options=pa.csv.ConvertOptions(
            include_columns=there,
            column_types=dict.fromkeys(there, pa.string()),  # else 007 is the number 7
            strings_can_be_null=False,
        ),
    )


def _read_json(path: Path, there: list[str]) -> pa.Table:
    """Return the columns with the types of the first row: Arrow takes some texts for dates."""
    with path.open(encoding="utf-8-sig") as file:
        first = _object(next((line for line in file if line.strip()), "{}"))
    kinds = {name: TYPES.get(type(first[name]), pa.string()) for name in there}
    schema = pa.schema([pa.field(name, kind) for name, kind in kinds.items()])
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return pa.json.read_json(path, parse_options=options)


def _texts(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_plain(column.type):
        raise DataError(
            f"{printable(path)}: column {name} is of type {column.type}; allowed are texts and "
            f"numbers: write it so; a table of images is read as data.name=hf"
        )
    try:
        trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()).fill_null(""))
        texts = _shared(trimmed)
    except (pa.ArrowException, UnicodeDecodeError):
        if (row := _no_text(column)) is None:
            raise
        raise wrong(path, f"row {row}", f"{name} is no UTF-8", "text in UTF-8") from None
    return texts


def _shared(column: pa.ChunkedArray) -> list[str]:
    """Return texts of which the same are one object, as far as there are few."""
    known: dict[str, str] = {}
    texts: list[str] = []
    for chunk in column.chunks:
        for start in range(0, len(chunk), AT_ONCE):
            some: list[str] = chunk.slice(start, AT_ONCE).to_pylist()
            if len(known) < FEW:
                some = [known.setdefault(text, text) for text in some]
            texts += some
    return texts


def _no_text(column: pa.ChunkedArray) -> int | None:
    """Return the first row that is no UTF-8, None if all are."""
    for row, value in enumerate(column):
        try:
            value.as_py()
        except UnicodeDecodeError:
            return row
    return None


def _wrong_line(path: Path, columns: Sequence[str]) -> DataError | None:
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return None
    if (found := not_text(path)) is not None:
        return found
    if suffix in DELIMITERS:
        return wrong_record(path, DELIMITERS[suffix])
    return wrong_object(path, columns)


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError(f"its first line is {printable(line, 40)!r}, and no object {{…}}")
    return found


def _unreadable(path: Path, error: Exception, columns: Sequence[str] = ()) -> DataError:
    """Return what is wrong with a list: its first wrong line, or what else there is to say."""
    try:
        if (found := _wrong_line(path, columns)) is not None:
            return found
    except (OSError, ValueError):  # then the first error says it
        pass
    form = {**dict.fromkeys(JSON_LINES, "JSON lines"), **dict.fromkeys(PARQUET, "Parquet")}
    what = form.get(path.suffix.lower(), "CSV")
    return DataError(
        f"{printable(path)}: cannot be read ({printable(error, 300)}); allowed is {what} in UTF-8: "
        f"correct it, or write it again"
    )
