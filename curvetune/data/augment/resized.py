"""Photographs: a random part of the image, resized; to evaluate, the middle of the image.

Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6; sizes, order and
rounding are those of torchvision's RandomResizedCrop and center_crop.

Resizing is bilinear with antialiasing, rounded to whole numbers as torchvision does with uint8. A
part that is larger than the crop would else be sampled with holes: pixels of noise are then 1 of
255 off where 256 pixels become 224, and 17 where they become 112. On a CPU images are resized one
by one, since PyTorch's kernel for uint8 takes a quarter of the time of `grid_sample`, which does
not antialias, and a twelfth to a quarter of that of two matrix products. A GPU has no such kernel,
so there it is the two products, with no wait for the device. benchmarks/training/crops.py
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from curvetune.data.augment.base import Draws, mirror

SMALLEST_AREA = 0.08  # of the image
RATIOS = (3 / 4, 4 / 3)  # width over height
ATTEMPTS = 10  # to draw a part that lies in the image; then as much of its middle as may be
AT_ONCE = 8192  # samples drawn for; bounds what a pass over millions holds beside the draws


class Parts(NamedTuple):
    """What is random about the augmentation of n samples: which part of each is shown, and how."""

    top: Tensor  # (n,) int16, first row
    left: Tensor  # (n,) int16, first column
    height: Tensor  # (n,) int16
    width: Tensor  # (n,) int16
    mirrored: Tensor  # (n,) bool


class ResizedCrop:
    """An `Augmentation`: a random part of every sample in another size, and half are mirrored."""

    def __init__(self, size: int, image: tuple[int, int], flip: bool) -> None:
        """Crop to `size` pixels high and wide, at most those of the stored `image`, (H, W)."""
        if not 0 < size <= min(image):
            raise ValueError(f"a crop of {size} pixels: allowed are 1 to {min(image)}, the images'")
        self._size, self._image, self._flip = size, image, flip

    def stored(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the images as they are."""
        return x.copy()

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Return the draws of `count` samples."""
        boxes = torch.empty(4, count, dtype=torch.int16, device=generator.device)
        for start in range(0, count, AT_ONCE):
            some = min(AT_ONCE, count - start)
            boxes[:, start : start + some] = draw_parts(some, *self._image, generator)
        top, left, height, width = boxes
        numbers = torch.rand(count, generator=generator, device=generator.device)
        return Parts(top, left, height, width, numbers < (0.5 if self._flip else 0.0))

    def augmented(self, stored: Tensor, index: Tensor, draws: Draws) -> Tensor:
        """Return a part of each indexed image in the size of the crop, mirrored where drawn."""
        *boxes, mirrored = draws
        if stored.device.type == "cpu":
            return _one_by_one(stored, index, torch.stack(boxes), mirrored, self._size)
        x = by_matrices(stored, index, torch.stack(boxes), self._size)
        return mirror(x, mirrored) if self._flip else x

    def plain(self, stored: Tensor) -> Tensor:
        """Return the middle of the images."""
        top, left = (round((size - self._size) / 2) for size in stored.shape[-2:])
        return stored.narrow(-2, top, self._size).narrow(-1, left, self._size)


def draw_parts(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return top, left, height and width of a random part of `count` images, (4, count) int16.

    All attempts are drawn at once, and the first that lies in the image is taken: a step that asks
    for a view waits for no value, and takes as much from the generator each time.
    """
    device = generator.device
    numbers = torch.rand(2, ATTEMPTS, count, generator=generator, device=device)
    places = torch.rand(2, count, generator=generator, device=device)
    area = height * width * (SMALLEST_AREA + (1 - SMALLEST_AREA) * numbers[0])
    low, high = map(math.log, RATIOS)
    ratio = torch.exp(low + (high - low) * numbers[1])
    rows, columns = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()  # (ATTEMPTS, n)
    fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
    first, found = fits.byte().argmax(dim=0, keepdim=True), fits.any(dim=0)
    rows, columns = (sides.gather(0, first)[0] for sides in (rows, columns))
    starts = (_start(places[0], rows, height), _start(places[1], columns, width))
    parts = zip((*starts, rows, columns), _middle(height, width), strict=True)
    return torch.stack([torch.where(found, drawn, middle) for drawn, middle in parts]).short()


def _start(place: Tensor, side: Tensor, available: int) -> Tensor:
    most = available - side
    return torch.minimum((place * (most + 1)).floor(), most)  # a product may be rounded up


def _middle(height: int, width: int) -> tuple[int, int, int, int]:
    """Return the largest part around the middle whose ratio is allowed."""
    low, high = RATIOS
    rows, columns = height, width
    if width / height < low:
        rows = round(width / low)
    elif width / height > high:
        columns = round(height * high)
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def _one_by_one(
    images: Tensor, index: Tensor, boxes: Tensor, mirrored: Tensor, size: int
) -> Tensor:
    """Return parts of the indexed images, (B, C, size, size) uint8, from boxes (4, B).

    NumPy copies, since PyTorch would share each copy among threads: where other trials have the
    cores, the wait for them takes 40 times as long as the work.
    """
    raw = images.numpy()
    out = np.empty((len(index), raw.shape[1], size, size), np.uint8)
    which = zip(index.tolist(), boxes.T.tolist(), mirrored.tolist(), strict=True)
    for k, (i, (top, left, height, width), is_mirrored) in enumerate(which):
        part = raw[i : i + 1, :, top : top + height, left : left + width]
        resized = F.interpolate(
            torch.from_numpy(np.ascontiguousarray(part)),
            (size, size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        ).numpy()[0]
        out[k] = resized[..., ::-1] if is_mirrored else resized
    return torch.from_numpy(out)


def by_matrices(images: Tensor, index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return parts of the indexed images, (B, C, size, size) uint8, from boxes (4, B).

    Each is a product with a matrix for its columns and with one for its rows, rounded after each
    as PyTorch's kernel for uint8 does.
    """
    x = images[index].float()
    count, channels, height, width = x.shape
    top, left, rows, columns = boxes.float()
    across = _weights(left, columns, width, size).transpose(1, 2)
    x = torch.bmm(x.reshape(count, channels * height, width), across).add_(0.5).floor_()
    x = x.view(count, channels, height, size).transpose(1, 2).reshape(count, height, -1)
    x = torch.bmm(_weights(top, rows, height, size), x).add_(0.5).floor_()
    x = x.view(count, size, channels, size).transpose(1, 2)
    return x.to(torch.uint8).contiguous()


def _weights(start: Tensor, length: Tensor, available: int, size: int) -> Tensor:
    """Return how much each of the `available` pixels of a line counts in each of `size`, (B, …).

    A triangle around the middle of the new pixel, as wide as two of the new pixels or two of the
    old, whichever is more; pixels outside of the part do not count.
    """
    old = torch.arange(available, device=start.device)
    scale = (length / size)[:, None]
    middles = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * scale - 0.5
    distance = (old - middles[..., None]).abs() / scale.clamp(min=1)[..., None]
    inside = (old >= start[:, None]) & (old < (start + length)[:, None])
    weights = (1 - distance).clamp(min=0) * inside[:, None]
    return weights / weights.sum(dim=-1, keepdim=True)
