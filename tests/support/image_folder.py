"""Small folders of real images, written with Pillow."""

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

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


SUBJECTS = ("fence", "pole", "sun")  # seen as such in an upright picture alone
WRONG = 0.1  # of the training labels, about
ORIENTATIONS = {3: 180, 6: 90, 8: 270}  # EXIF's, and by how many degrees the file is turned


def photograph(kind: str, draw: np.random.Generator) -> Image.Image:
    """Return an upright picture of 90 to 260 pixels a side."""
    width, height = (int(side) for side in draw.integers(90, 260, 2))
    sky = np.linspace(draw.integers(140, 220), draw.integers(60, 140), height)[:, None, None]
    noise = draw.normal(0, 12, (height, width, 3))
    base = (sky + noise + draw.uniform(-30, 30, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(base)
    pen = ImageDraw.Draw(image)
    colour = tuple(int(c) for c in draw.integers(0, 256, 3))
    size = min(width, height)
    x, y = int(draw.uniform(0.3, 0.7) * width), int(draw.uniform(0.3, 0.5) * height)
    if kind == "sun":
        pen.ellipse((x - size // 5, y - size // 5, x + size // 5, y + size // 5), fill=colour)
    for step in range(1 if kind == "pole" else 6 if kind == "fence" else 0):
        left = x if kind == "pole" else (2 * step + 1) * width // 12
        pen.rectangle((left - size // 24, height // 6, left + size // 24, height), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(1))


def write_photographs(root: Path, *, train: int = 240, test: int = 60, seed: int = 0) -> None:
    """Write JPEG files of many sizes, a fifth turned by EXIF; wrong ones say WRONG in the name."""
    draw = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        for name in SUBJECTS:
            (root / split / name).mkdir(parents=True)
        for n in range(count):
            truth = n % len(SUBJECTS)
            wrong = split == "train" and draw.random() < WRONG
            given = (truth + int(draw.integers(1, 3))) % 3 if wrong else truth
            path = root / split / SUBJECTS[given] / f"{'WRONG' if wrong else 'IMG'}_{n:04d}.jpg"
            image, options = photograph(SUBJECTS[truth], draw), {}
            if n % 5 == 0:
                turn = list(ORIENTATIONS)[n // 5 % 3]
                image = image.rotate(ORIENTATIONS[turn], expand=True)
                exif = Image.Exif()
                exif[0x0112] = turn
                options = {"exif": exif}
            image.save(path, quality=90, **options)


def write_album(root: Path, *, count: int = 300, seed: int = 0) -> None:
    """Write photographs as people keep them: a folder for each subject, and nothing to test on.

    Wrong ones say WRONG in the name.
    """
    write_photographs(root / "parts", train=count, test=0, seed=seed)
    for name in SUBJECTS:
        (root / "parts" / "train" / name).rename(root / name)
    shutil.rmtree(root / "parts")
