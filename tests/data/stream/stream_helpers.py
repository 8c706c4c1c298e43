"""Image files of a table, written with Pillow, and a table of them."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from image_folder import picture
from numpy.typing import NDArray
from PIL import Image

from curvetune.data.pixels import Positions
from curvetune.data.tables.table import Table
from curvetune.errors import DataError

SIZE = 16


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Image files below a folder."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        return self.names[position]

    def suffix(self, position: int) -> str:
        return Path(self.names[position]).suffix

    def files(self) -> Iterable[Path]:
        return [self.folder / name for name in self.names]

    def read(self, positions: Positions) -> Sequence[bytes]:
        try:
            return [(self.folder / self.names[int(k)]).read_bytes() for k in positions]
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None


def write(folder: Path, count: int = 40, first: int = 0) -> OnDisk:
    """Write JPEG files of different sizes and return them; each has a seed of its own."""
    folder.mkdir(exist_ok=True)
    names = []
    for seed in range(first, first + count):
        names.append(f"{seed}.jpg")
        picture(seed, 20 + seed % 7, 30 - seed % 5).save(folder / names[-1], quality=95)
    return OnDisk(folder, tuple(names))


def table_of(encoded: OnDisk, test: int = 10) -> Table:
    """Return a table whose last rows are the test set; the classes are 0, 1 and 2 by turns."""
    y = np.arange(len(encoded), dtype=np.int64) % 3
    return Table(encoded, len(encoded) - test, y, ("ant", "bee", "cat"))


def reference(encoded: OnDisk, rows: Iterable[int], size: int = SIZE) -> NDArray[np.uint8]:
    """Return the pixels as Pillow makes them, (n, 3, size, size)."""
    images = []
    for row in rows:
        with Image.open(io.BytesIO((encoded.folder / encoded.names[row]).read_bytes())) as image:
            small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        images.append(np.asarray(small).transpose(2, 0, 1))
    return np.stack(images)
