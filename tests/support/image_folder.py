"""Small folders of real images, written with Pillow."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("ant", "bee", "cat")
TRAIN, TEST = (8, 6, 5), (3, 3, 2)  # images of each class


def pixels(seed: int, height: int = 12, width: int = 10) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


def picture(seed: int = 0, height: int = 12, width: int = 10) -> Image.Image:
    return Image.fromarray(pixels(seed, height, width))


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def write_images(root: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Write TRAIN and TEST images of 32×32 pixels; each has a seed of its own, from 0 on."""
    seed = 0
    for split, counts in (("train", TRAIN), ("test", TEST)):
        for name, count in zip(classes, counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                path = root / split / name / f"{k}.png"
                path.write_bytes(encoded(picture(seed, 32, 32)))
                seed += 1


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Return a PNG file whose header claims what it likes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
