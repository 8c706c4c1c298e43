"""Small images: a window of the image with mirrored edges, of the image's own size.

Source: jiangwenj02/CurveNet-V1 (feeder/feeder.py): reflect, crop, mirror, normalise.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.data.augment.base import Draws, mirror

# Samples drawn for. A CPU's generator gives one number after the other, so pieces are what all at
# once would be, and 64 bits of each are not held.
AT_ONCE = 65_536


class Windows(NamedTuple):
    """What is random about the augmentation of n samples."""

    top: Tensor  # (n,) int64, or int16 of many; first row of the crop, 0 to 2 pad
    left: Tensor  # (n,) of the same type, first column of the crop, 0 to 2 pad
    mirrored: Tensor  # (n,) bool


class PaddedCrop:
    """An `Augmentation`: every sample moves by up to `pad` pixels, and half are mirrored."""

    def __init__(self, pad: int, flip: bool) -> None:
        self._pad, self._flip = pad, flip

    def stored(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the images with mirrored edges, so that a crop only reads."""
        return reflect_pad(x, self._pad)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Return the draws of `count` samples."""
        return draw(count, self._pad, self._flip, generator)

    def augmented(self, stored: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """Return a window of each indexed image, mirrored where it is drawn."""
        top, left, mirrored = draws
        x = random_crop(stored, index, top.long(), left.long(), self._pad)
        return mirror(x, mirrored) if self._flip else x

    def plain(self, stored: Tensor) -> Tensor:
        """Return the images without their edges."""
        height, width = (size - 2 * self._pad for size in stored.shape[-2:])
        return stored.narrow(-2, self._pad, height).narrow(-1, self._pad, width)


def draw(count: int, pad: int, flip: bool, generator: torch.Generator) -> Windows:
    """Return the draws of `count` samples, a function of the generator alone and on its device.

    Args:
        pad: at most 16,383, so that a place has room in 16 bits.
    """
    device, share = generator.device, 0.5 if flip else 0.0
    if device.type != "cpu" or count <= AT_ONCE:
        top, left = torch.randint(2 * pad + 1, (2, count), generator=generator, device=device)
        mirrored = torch.rand(count, generator=generator, device=device) < share
        return Windows(top, left, mirrored)
    sizes = [min(AT_ONCE, count - start) for start in range(0, count, AT_ONCE)]
    top, left = (
        torch.cat([torch.randint(2 * pad + 1, (n,), generator=generator).short() for n in sizes])
        for _ in range(2)
    )
    return Windows(
        top, left, torch.cat([torch.rand(n, generator=generator) < share for n in sizes])
    )


def reflect_pad(x: NDArray[np.uint8], pad: int) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) mirrored at their edges, (N, C, H + 2 pad, W + 2 pad)."""
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")


def random_crop(padded: Tensor, index: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Return one window of each indexed image, (B, C, H, W).

    Args:
        padded: all images, (N, C, H + 2 pad, W + 2 pad).
        index: which images, (B,).
        top: first row of each window, (B,).
        left: first column of each window, (B,).
    """
    height, width = (size - 2 * pad for size in padded.shape[-2:])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, tops, lefts, H, W)
    return windows.permute(0, 2, 3, 1, 4, 5)[index, top, left]
