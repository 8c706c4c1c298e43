"""A folder of Parquet files as Hugging Face keeps them: a column of images and one of labels.

    DIR/data/train-00000-of-00002.parquet, test-00000-of-00001.parquet, …   or DIR/train/*.parquet

Columns are found by their type: what the `huggingface` metadata says, else a struct with bytes, or
bytes, and a whole number or text. `data.variant` names the column of labels where there are
several. Test images are those of test, or of validation where test is not there or has no labels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curvetune.data.labels import Classes, named_by
from curvetune.data.parquet import SHARD
from curvetune.data.tables.parquet_rows import ParquetRows
from curvetune.data.tables.rows import encoded_table, not_there
from curvetune.data.tables.shards import by_split, near
from curvetune.data.tables.table import Table
from curvetune.errors import DataError, printable

WANTED = "DIR/train-*.parquet and DIR/test-*.parquet (or validation), perhaps in DIR/data"
NO_LABEL = -1  # what Hugging Face writes for test images whose labels are kept secret


@dataclass(frozen=True)
class _Form:
    """Which columns are what, and the names of the classes if the metadata has them."""

    image: str
    label: str
    names: tuple[str, ...] | None


def is_here(data_dir: Path) -> bool:
    """Say whether a folder has Parquet files with a column of images."""
    path = next(near(data_dir, ".parquet"), None)
    if path is None:
        return False
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):  # then reading it says what is wrong with it
        return True
    return any(_is_image(field, _features(schema)) for field in schema)


def read(data_dir: Path, label: str | None = None) -> Table:
    """Return the rows.

    Args:
        label: the column of labels; found by its type if not given.

    Raises:
        DataError: there are no files, or one of them is not as it should be.
    """
    files = _files(data_dir)
    tested = [files[name] for name in ("test", "val") if files[name]]
    form = _form(files["train"][0], label)
    train = [_labels(path, form) for path in files["train"]]
    tests = [[_labels(path, form) for path in found] for found in tested]
    k = next((k for k, found in enumerate(tests) if not _are_secret(found)), 0)
    paths, labels = [*files["train"], *tested[k]], [*train, *tests[k]]
    sizes = [len(found) for found in labels]
    n = sum(sizes[: len(train)])
    names = form.names or named_by(text for found in train for text in set(found))
    y = np.concatenate(
        [_y(path, found, form, names) for path, found in zip(paths, labels, strict=True)]
    )
    inner = [path.relative_to(data_dir).as_posix() for path in paths]
    return encoded_table(ParquetRows(data_dir, inner, sizes, form.image), n, y, names)


def parts(data_dir: Path, label: str | None) -> tuple[str, list[Path], list[Path]]:
    """Return the column of labels, the files to train on, and all others.

    Raises:
        DataError: as `read`.
    """
    files = _files(data_dir)
    column = _form(files["train"][0], label).label
    return column, files["train"], [*files["test"], *files["val"]]


def _files(data_dir: Path) -> dict[str, list[Path]]:
    files = by_split(data_dir, (".parquet",), WANTED)
    if not files["train"] or not (files["test"] or files["val"]):
        lacks = "train" if not files["train"] else "test"
        raise not_there("hf", data_dir, f"{WANTED}; there are none to {lacks}")
    for found in files.values():
        _check_whole(found)
    return files


def _check_whole(files: Sequence[Path]) -> None:
    totals = {int(match[1]) for path in files if (match := SHARD.search(path.name))}
    if totals and totals != {len(files)}:
        raise DataError(
            f"{printable(files[0].parent)}: found {len(files)} files like "
            f"{printable(files[0].name)}, but by their names there are {max(totals)}; copy all of "
            f"them, and no others, there"
        )


def _form(path: Path, label: str | None) -> _Form:
    schema = _schema(path)
    features = _features(schema)
    images = [field.name for field in schema if _is_image(field, features)]
    image = _the_one(path, images, ("image", "img"), "image", schema)
    labels = [f.name for f in schema if f.name != image and _is_label(f, features, classed=True)]
    labels = labels or [f.name for f in schema if f.name != image and _is_label(f, features)]
    if label is not None:
        if label not in schema.names:
            raise _no_column(path, f"data.variant={label}: no column of that name", schema)
        labels = [label]
    chosen = _the_one(path, labels, ("label", "labels"), "label", schema)
    names = features.get(chosen, {}).get("names")
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return _Form(image, chosen, tuple(names) if is_named else None)


def _the_one(
    path: Path, found: list[str], usual: tuple[str, ...], what: str, schema: pa.Schema
) -> str:
    if len(found) == 1:
        return found[0]
    for name in usual:
        if name in found:
            return name
    said = f"{len(found)} columns may be the {what}"
    hint = f": choose one with --set data.variant={found[0]}" if found and what == "label" else ""
    raise _no_column(path, said, schema, hint)


def _no_column(path: Path, what: str, schema: pa.Schema, hint: str = "") -> DataError:
    there = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)
    return DataError(
        f"{printable(path)}: {what}; its columns are {printable(there)}; allowed is one with "
        f"images, a struct of bytes and path or bytes, and one with labels, a whole number or "
        f"text{hint}"
    )


def _is_image(field: pa.Field, features: dict[str, Any]) -> bool:
    if features.get(field.name, {}).get("_type") == "Image":
        return True
    kind = field.type
    if pa.types.is_struct(kind):
        return any(inner.name == "bytes" for inner in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_label(field: pa.Field, features: dict[str, Any], *, classed: bool = False) -> bool:
    if classed:
        return bool(features.get(field.name, {}).get("_type") == "ClassLabel")
    kind = field.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(pa.types.is_integer(kind) or is_text)


def _labels(path: Path, form: _Form) -> list[str]:
    """Return the labels of a file as text.

    Raises:
        DataError: it lacks a column, or a row has none.
    """
    schema = _schema(path)
    for name in (form.image, form.label):
        if name not in schema.names:
            raise _no_column(path, f"no column {name}, which the first file has", schema)
    own = _features(schema).get(form.label, {}).get("names")
    if own is not None and form.names is not None and tuple(own) != form.names:
        raise DataError(
            f"{printable(path)}: its metadata names the classes of {form.label} in another way "
            f"than the first file; allowed are the same names in the same order: write it again"
        )
    try:
        column = pq.read_table(path, columns=[form.label], partitioning=None).column(0)
        if column.null_count:
            row = column.is_null().index(pa.scalar(True)).as_py()
            raise DataError(
                f"{printable(path)}: row {row} has no {form.label}; allowed is one in each row: "
                f"add it, or take the row out"
            )
        texts: list[str] = column.cast(pa.string()).to_pylist()
        return texts
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _are_secret(found: list[list[str]]) -> bool:
    return all(text == str(NO_LABEL) for texts in found for text in texts)


def _y(path: Path, texts: list[str], form: _Form, names: tuple[str, ...]) -> NDArray[np.int64]:
    classes = Classes(names)
    if form.names is not None:
        places = {str(k): k for k in range(len(names))}
        meaning = {text: places.get(text) for text in set(texts)}
        allowed = f"allowed is a whole number from 0 to {len(names) - 1}"
    else:
        meaning = {text: classes.find(text) for text in set(texts)}
        allowed = classes.allowed()
    for row, text in enumerate(texts if None in meaning.values() else ()):
        if meaning[text] is None:
            raise DataError(
                f"{printable(path)}: row {row} has {form.label} {printable(text)!r}; {allowed}: "
                f"correct it, or take the row out"
            )
    return np.array([meaning[text] for text in texts], np.int64)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the metadata says of the columns; nothing if it has none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: said for name, said in features.items() if isinstance(said, dict)}


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{printable(path)}: cannot be read as Parquet ({printable(error)}); copy or download it "
        f"again"
    )
