"""A CIFAR of a few random images, in the Parquet layout."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

NAMES = ["cat", "dog", "frog"]  # some of CIFAR-10's
NAMES_OF = {"fine_label": ["bear", "fox", "wolf"]}  # of CIFAR-100's


def images(count: int, seed: int) -> NDArray[np.uint8]:
    """Return random images, (N, 32, 32, 3)."""
    return np.random.default_rng(seed).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)


def encoded(pixels: NDArray[np.uint8], image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, lossless=True)
    return buffer.getvalue()


def write_parquet(
    path: Path,
    contents: Sequence[bytes],
    labels: Sequence[int | None],
    column: str = "label",
    names: Sequence[str] | None = (),
) -> None:
    names = NAMES_OF.get(column, NAMES) if names == () else names
    img = [{"bytes": content, "path": None} for content in contents]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array(img, kind), column: pa.array(labels, pa.int64())})
    if names is not None:
        features = {column: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_cifar(folder: Path, column: str = "label", image_format: str = "WEBP") -> None:
    """Write 5 training images in two shards and 2 test images; label k of image k is k % 3."""
    pixels, test = images(5, seed=0), images(2, seed=1)
    parts = {
        "train-00000-of-00002": (pixels[:3], [0, 1, 2]),
        "train-00001-of-00002": (pixels[3:], [0, 1]),
        "test-00000-of-00001": (test, [0, 1]),
    }
    for name, (x, y) in parts.items():
        contents = [encoded(image, image_format) for image in x]
        write_parquet(folder / f"{name}.parquet", contents, y, column)
