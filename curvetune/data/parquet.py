"""Images in Hugging Face's Parquet layout: a column img{bytes, path} and a column of labels.

A split is one file or several, `train-00000-of-00002.parquet` and so on, whose rows are in order.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from curvetune.data import cache
from curvetune.data.source import Images
from curvetune.errors import DataError

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
    metadata = _read(path, column).schema.metadata or {}
    try:
        info = json.loads(metadata[b"huggingface"])["info"]
        return tuple(info["features"][column]["names"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: its metadata has no names of the classes of {column}; allowed is what the "
            f"Hugging Face datasets library writes under 'huggingface': write it with that"
        ) from None


def read_labels(files: Sequence[Path], column: str, num_classes: int) -> NDArray[np.int64]:
    """Return the labels, (N,), of the files in order.

    Raises:
        DataError: a file is bad, or has a label that is missing or not below `num_classes`.
    """
    return np.concatenate([_labels(path, column, num_classes) for path in files])


def read_images(
    files: Sequence[Path], column: str, num_classes: int, shape: tuple[int, int]
) -> Images:
    """Return the images and labels of the files in order, every image of `shape` (H, W) in RGB.

    The images are decoded once per machine, and mapped from the disk, read-only, after that.

    Raises:
        DataError: a file, an image or a label is bad.
    """
    y = read_labels(files, column, num_classes)
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


def _labels(path: Path, column: str, num_classes: int) -> NDArray[np.int64]:
    y = _read(path, column).column(column).to_numpy()  # float if one is missing: NaN
    wrong = np.flatnonzero(~((y >= 0) & (y < num_classes)))
    if wrong.size:
        raise DataError(
            f"{path}: row {wrong[0]} has {column} {y[wrong[0]]}; allowed is 0 to "
            f"{num_classes - 1}, since the metadata names {num_classes} classes"
        )
    return np.asarray(y, dtype=np.int64)


def _encoded(path: Path) -> list[bytes | None]:
    """Return the encoded images of one file, (N,)."""
    contents: list[bytes | None]
    contents = pc.struct_field(_read(path, "img.bytes").column("img"), "bytes").to_pylist()
    return contents


def _decode(content: bytes | None, where: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels of an encoded image, (3, H, W)."""
    try:
        # Naming the formats halves the time: Pillow would import and try all others first.
        with Image.open(io.BytesIO(content or b""), formats=("WEBP", "PNG")) as image:
            # `convert` copies what is RGB already: a tenth of the time.
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{where}: cannot be decoded ({error}); allowed are WebP and PNG: copy the file again"
        ) from error
    if pixels.shape[:2] != shape:
        raise DataError(
            f"{where}: its height and width are {pixels.shape[:2]}, allowed are {shape}; "
            f"give the --data-dir of another copy"
        )
    return pixels.transpose(2, 0, 1)


def _read(path: Path, column: str) -> pa.Table:
    """Return one column (or, with a dot, one field of it) of a file, with its metadata."""
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
