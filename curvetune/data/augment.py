"""Augmentation of a batch at once on the device, every sample with its own draw.

Source: jiangwenj02/CurveNet-V1 (feeder/feeder.py): reflect, crop, mirror, normalise.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Draws(NamedTuple):
    """What is random about the augmentation of n samples."""

    top: Tensor  # (n,) int64, first row of the crop, 0 to 2 pad
    left: Tensor  # (n,) int64, first column of the crop, 0 to 2 pad
    mirrored: Tensor  # (n,) bool


def draw(count: int, pad: int, flip: bool, generator: torch.Generator) -> Draws:
    """Return the draws of `count` samples, a function of the generator alone and on its device."""
    device = generator.device
    top, left = torch.randint(2 * pad + 1, (2, count), generator=generator, device=device)
    mirrored = torch.rand(count, generator=generator, device=device) < (0.5 if flip else 0.0)
    return Draws(top, left, mirrored)


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
