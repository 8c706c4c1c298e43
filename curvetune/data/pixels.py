"""Images that need not be in memory: what training asks of them, and how their bytes are found.

Both are small, pickle as they are, and may be opened on another machine. Nothing here imports
PyTorch or Ray.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


class Pixels(Protocol):
    """Decoded images of one size, (N, C, H, W) uint8, wherever they are.

    An array is one, but for `read`.
    """

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        """Return some images, (n, C, H, W), in the order of `positions`."""
        ...

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield images in the order of `positions`, `batch_size` at a time, (B, C, H, W).

        It reads ahead, holds only a few batches, and stops what it started when it is closed.

        Raises:
            DataError: an image cannot be read or decoded; with its name.
        """
        ...


class Encoded(Protocol):
    """Encoded images, as files or as bytes within files."""

    def __len__(self) -> int: ...

    def name(self, position: int) -> str:
        """Return what people know an image by: its file, and its row or member there."""
        ...

    def suffix(self, position: int) -> str:
        """Return the extension that an image's name has, in lower case; empty if it has none."""
        ...

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return the bytes of some images, in the order of `positions`.

        Raises:
            DataError: a file is not there, or not what it was; with its name.
        """
        ...
