"""Pixels made of others: those of an array, and some of a larger set.

Nothing here imports PyTorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Pixels, Positions

T = TypeVar("T")
AT_ONCE = 262_144  # positions that are looked up: 2 MB, and a pause of reading ahead after each


class ArrayPixels:
    """An array, (N, C, H, W) uint8, as `Pixels`; it may be mapped from the disk."""

    def __init__(self, x: NDArray[np.uint8]) -> None:
        self._x = x

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        count, channels, height, width = self._x.shape
        return count, channels, height, width

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        """Return some images, (n, C, H, W), in the order of `positions`."""
        return self._x[positions]

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield images in the order of `positions`, `batch_size` at a time."""
        for start in range(0, len(positions), batch_size):
            yield self._x[positions[start : start + batch_size]]


class Chosen:
    """Some images of other pixels, in an order of their own; none is read before it is asked for.

    Args:
        rows: (n,), which they are.
    """

    def __init__(self, pixels: Pixels, rows: Positions) -> None:
        self._pixels, self._rows = pixels, rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, C, H, W)."""
        return (len(self._rows), *self._pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        """Return some of them, in the order of `positions`."""
        return self._pixels[self._rows[positions]]

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield some of them in the order of `positions`, `batch_size` at a time."""
        step = max(1, AT_ONCE // batch_size) * batch_size
        for start in range(0, len(positions), step):
            rows = self._rows[positions[start : start + step]]
            with reading(self._pixels.read(rows, batch_size)) as batches:
                yield from batches


def as_pixels(x: NDArray[np.uint8] | Pixels) -> Pixels:
    """Return images as what can be read batch by batch."""
    return ArrayPixels(x) if isinstance(x, np.ndarray) else x


@contextmanager
def reading(iterator: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close an iterator at the end of a block, so that nothing is read for it any more.

    A reader of pixels may have threads. After an error its frames keep it open, perhaps for long.
    """
    try:
        yield iterator
    finally:
        if (close := getattr(iterator, "close", None)) is not None:
            close()
