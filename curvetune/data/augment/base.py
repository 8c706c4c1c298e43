"""What every augmentation is made of."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Draws = Sequence[Tensor]  # what is random about n samples, each (n,)


class Augmentation(Protocol):
    """How training images are varied, and how they are looked at without that.

    Images are uint8 throughout. All that is random is in draws, which are a function of the
    generator alone: so a pass can draw for all of its samples before its first batch.
    """

    def stored(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the two last calls take of raw images (N, C, H, W); never a view of them."""
        ...

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Return the draws of `count` samples, on the generator's device."""
        ...

    def augmented(self, stored: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """Return the indexed images, (B, C, h, w), as their draws say, on the device of `stored`.

        Args:
            stored: a set or a batch, (N, C, …).
            index: which of it, (B,).
            draws: of the indexed images, each (B,).
        """
        ...

    def plain(self, stored: Tensor) -> Tensor:
        """Return all of `stored` as evaluation sees it, a view (N, C, h, w)."""
        ...


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """Return images (B, C, H, W) with left and right exchanged where `mirrored`, (B,)."""
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def normalise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return raw images (B, C, H, W) as float32 in channels-last order.

    Args:
        mean: (C, 1, 1), in units of the raw values.
        std: (C, 1, 1), in units of the raw values.
    """
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)
