"""Images in Hugging Face's Parquet layout: a column img{bytes, path} and a column of labels.

A split is one file or several, `train-00000-of-00002.parquet` and so on, whose rows are in order.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curvetune.data import cache
from curvetune.data.labels import Classes
from curvetune.data.source import Images
from curvetune.errors import DataError, printable

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 10  # classes that an error names
SHARD = re.compile(r"-\d+-of-(\d+)\.parquet$")


def find_shards(folder: Path, split: str) -> tuple[Path, ...]:
    """Return the files of a split in order, none if there are none.

    Raises:
        DataError: there are not as many as their names say.
    """
    files = sorted(folder.glob(f"{split}-*.parquet"))
    totals = {int(match[1]) for file in files if (match := SHARD.search(file.name))}
    if totals and totals != {len(files)}:
        raise DataError(
            f"{folder}: found {len(files)} {split}-*.parquet, but by their names there are "
            f"{max(totals)}; copy all of them, and no others, there"
        )
    return tuple(files)


def digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 over the SHA-256s of the files' bytes, in order.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    return total.hexdigest()


def class_names(path: Path, column: str) -> tuple[str, ...]:
    """Return the names of the classes of a label column, (K,), from the file's metadata.

    Raises:
        DataError: the file is bad or has none.
    """
    names = _names(_read(path, column), column)
    if names is None:
        raise DataError(
            f"{path}: its metadata has no names of the classes of {column}; allowed is what the "
            f"Hugging Face datasets library writes under 'huggingface': write it with that"
        )
    return names


def read_labels(files: Sequence[Path], column: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels, (N,), of the files in order: whole numbers, each the place of a name.

    Args:
        names: of the classes, (K,).

    Raises:
        DataError: a file is bad, names its classes in another way, or has a label that is
            missing, no whole number, or none of the classes.
    """
    return np.concatenate([_labels(path, column, tuple(names)) for path in files])


def read_images(
    files: Sequence[Path], column: str, names: Sequence[str], shape: tuple[int, int]
) -> Images:
    """Return the images and labels of the files in order, every image of `shape` (H, W) in RGB.

    The images are decoded once per machine, and mapped from the disk, read-only, after that.

    Raises:
        DataError: a file, an image or a label is bad.
    """
    y = read_labels(files, column, names)
    height, width = shape
    name = f"{digest(files)}-rgb-{height}x{width}"  # all that decides the pixels
    return Images(cache.kept(name, lambda: _decode_all(files, len(y), shape)), y)


def _decode_all(files: Sequence[Path], count: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the images of the files in order, (N, 3, H, W).

    One by one: Pillow frees the GIL for half of the 60 µs that an image takes, but two threads on
    two cores were no faster, and two processes gained less than their start costs (docs/log.md).
    """
    x = np.empty((count, 3, *shape), np.uint8)
    places = ((path, row, content) for path in files for row, content in enumerate(_encoded(path)))
    for k, (path, row, content) in enumerate(places):
        x[k] = _decode(content, f"{path}: row {row}", shape)
    return x


def _labels(path: Path, column: str, names: tuple[str, ...]) -> NDArray[np.int64]:
    import pyarrow as pa  # inside, here and below: 50 ms, and most plans read no such file

    table = _read(path, column)
    own = _names(table, column)
    if own is not None and own != names:
        raise DataError(
            f"{path}: its metadata names the classes of {column} {_shown(own)}, and that of the "
            f"first file {_shown(names)}; allowed are the same names in the same order"
        )
    values = table.column(column)
    if values.null_count:
        row = values.is_null().index(pa.scalar(True)).as_py()
        raise DataError(f"{path}: row {row} has no {column}; {_allowed(names)}")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        first = f", in row 0 {_quoted(values[0].as_py(), names)}" if len(values) else ""
        raise DataError(f"{path}: {column} is of type {kind}{first}; {_allowed(names)}")
    y = values.to_numpy()
    if len(wrong := np.flatnonzero(~_are_places(y, len(names)))):
        raise DataError(f"{path}: row {wrong[0]} has {column} {y[wrong[0]]}; {_allowed(names)}")
    return np.asarray(y.astype(np.int64), np.int64)


def _are_places(y: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Say of each label whether it is a whole number from 0 to `count` - 1, (N,).

    It may be stored as a fraction, 3.0, as pandas does once a label was missing.
    """
    if y.dtype == object:  # decimals, exact as they are
        return np.array([0 <= label < count and label == int(label) for label in y], np.bool_)
    return np.asarray((y >= 0) & (y < count) & (y == np.floor(y)), np.bool_)


def _allowed(names: Sequence[str]) -> str:
    return (
        f"allowed is a whole number from 0 to {len(names) - 1}, the place of a name among the "
        f"{len(names)} in the metadata ({_shown(names)})"
    )


def _quoted(label: object, names: tuple[str, ...]) -> str:
    """Return a label that is no number, with its number if it is a name."""
    number = Classes(names).find(label) if isinstance(label, str) else None
    return f"{printable(label, 40)!r}{'' if number is None else f' (its number is {number})'}"


def _shown(names: Sequence[str]) -> str:
    more = f", … ({len(names)})" if len(names) > NAMED else ""
    return f"{', '.join(printable(name, 40) for name in names[:NAMED])}{more}"


def _names(table: "pa.Table", column: str) -> tuple[str, ...] | None:
    return names_in(table.schema, column)


def names_in(schema: "pa.Schema", column: str) -> tuple[str, ...] | None:
    """Return the names of the classes that a file's metadata has, None if it has none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]
        names = info["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def _encoded(path: Path) -> list[bytes | None]:
    """Return the encoded images of one file, (N,)."""
    import pyarrow.compute as pc

    contents: list[bytes | None]
    contents = pc.struct_field(_read(path, "img.bytes").column("img"), "bytes").to_pylist()
    return contents


def _decode(content: bytes | None, where: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels of an encoded image, (3, H, W)."""
    try:
        # Naming the formats takes 0.6 of the time: Pillow would try others first, and import them.
        with Image.open(io.BytesIO(content or b""), formats=("WEBP", "PNG")) as image:
            # `convert` copies what is RGB already: a tenth to a quarter more.
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{where}: cannot be decoded ({error}); allowed are WebP and PNG: copy the file again"
        ) from error
    if pixels.shape[:2] != shape:
        raise DataError(
            f"{where}: its height and width are {pixels.shape[:2]}, allowed are {shape}; "
            f"give the --data-dir of a copy of CIFAR (`curvetune data check DIR` says what it is)"
        )
    return pixels.transpose(2, 0, 1)


def _read(path: Path, column: str) -> "pa.Table":
    """Return one column (or, with a dot, one field of it) of a file, with its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({error}); copy or download it again"
        ) from error
    if not table.column_names:
        raise DataError(
            f"{path}: has no column {column}; give the --data-dir of files that have one"
        )
    return table
