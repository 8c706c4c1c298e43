"""Runs `curvetune clean`, and reads what it has written."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from public_sets import write
from typer.testing import CliRunner

from curvetune import data
from curvetune.cli import app
from curvetune.data.stream.own import OwnImages


def contents(root: Path) -> dict[str, bytes]:
    """Return every file below a folder, through links."""
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def run(*args: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def done(out: Path) -> list[dict[str, str]]:
    with (out / "cleaned.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def labels_of(name: str, data_dir: Path) -> dict[str, str]:
    """Return the class of each training image, by its name there."""
    source = data.find_source(name)
    assert isinstance(source, OwnImages)
    table = source.table(data_dir)
    y = table.y[: table.train]
    files = source.train_files(data_dir)
    return {file: table.class_names[k] for file, k in zip(files, y, strict=True)}


LISTS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "list.csv": lambda path, rows: write(path, *_cells(rows, ",")),
    "list.tsv": lambda path, rows: write(path, *_cells(rows, "\t")),
    "list.jsonl": lambda path, rows: write(path, *map(json.dumps, rows)),
    "list.parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
}


def _cells(rows: list[dict[str, Any]], delimiter: str) -> list[str]:
    return [delimiter.join(map(str, cells)) for cells in [rows[0], *(r.values() for r in rows)]]
