"""Generated photographs as JPEG files, for the benchmarks of this folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from curvetune.data.pixels import Positions
from curvetune.data.tables.table import Table

SIZES = ((500, 375), (375, 500), (480, 360), (512, 384))  # width and height, by turns


@dataclass(frozen=True, eq=False)
class Photographs:
    """JPEG files of a folder, with labels."""

    folder: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def name(self, position: int) -> str:
        return f"{position}.jpg"

    def suffix(self, position: int) -> str:
        return ".jpg"

    def files(self) -> Iterable[Path]:
        return (self.path(k) for k in range(self.count))

    def path(self, position: int) -> Path:
        return self.folder / self.name(position)

    def read(self, positions: Positions) -> Sequence[bytes]:
        return [self.path(int(k)).read_bytes() for k in positions]

    def table(self) -> Table:
        """Return a table of two classes; a tenth of it is the test set."""
        y = np.arange(self.count, dtype=np.int64) % 2
        return Table(self, self.count - self.count // 10, y, ("a", "b"))


def photographs(folder: Path, count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Photographs:
    """Write files with large shapes and a grain, about 50 kB each, and return them.

    Args:
        sizes: width and height, by turns.
    """
    generator = np.random.default_rng(0)
    for k in range(count):
        shapes = generator.integers(256, size=(12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(shapes).resize(sizes[k % len(sizes)], Image.Resampling.BICUBIC)
        grain = generator.normal(0, 8, size=(image.height, image.width, 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.jpg", quality=85)
    return Photographs(folder, count)
