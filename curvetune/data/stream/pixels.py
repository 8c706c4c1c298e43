"""Some of the images of a table, by their shards; a `Pixels`."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Positions
from curvetune.data.stream.ahead import ahead
from curvetune.data.stream.shards import Shards

AHEAD = 3  # batches that are made before they are asked for


class ShardPixels:
    """Some rows of shards, in an order of their own."""

    def __init__(self, shards: Shards, rows: Positions) -> None:
        self.shards, self.rows = shards, rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return len(self.rows), 3, self.shards.size, self.shards.size

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, positions: Positions) -> "ShardPixels":
        """Return some of these, in the order of `positions`; they share what is open."""
        return ShardPixels(self.shards, self.rows[positions])

    def name(self, position: int) -> str:
        """Return what people know an image by."""
        return self.shards.encoded.name(int(self.rows[position]))

    def __getitem__(self, positions: Positions | slice | int) -> NDArray[np.uint8]:
        """Return some images, (n, 3, H, W), in the order of `positions`; as an array would.

        Raises:
            DataError: an image has no shard, and is not what it was.
        """
        rows = self.rows[positions]
        images = next(self.shards.batches([np.atleast_1d(rows)]))
        return images[0] if rows.ndim == 0 else images

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield images in the order of `positions`, `batch_size` at a time, (B, 3, H, W).

        Raises:
            DataError: an image has no shard, and is not what it was.
        """
        rows = self.rows[positions]
        starts = range(0, len(rows), batch_size)
        batches = [rows[start : start + batch_size] for start in starts]
        return ahead(self.shards.batches(batches), AHEAD)
