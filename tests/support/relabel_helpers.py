"""A list of corrected labels, and what a storage holds, for the tests of `relabel`."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

METHOD = ({"name": "cross-entropy"},)


def write(path: Path, labels: Mapping[int, int] | Iterable[tuple[object, object]]) -> Path:
    rows = labels.items() if isinstance(labels, Mapping) else labels
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("sample", "label"), *rows])
    return path


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
