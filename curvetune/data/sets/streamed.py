"""A set of images that are read as they are needed; a few raw batches are all that is held."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.config.plugins import Transform
from curvetune.data.pixels import Pixels
from curvetune.data.sets.image_set import ImageSet, Raw
from curvetune.data.sets.reading import reading
from curvetune.data.source import Dataset


class StreamedSet(ImageSet):
    """Labels on a device, and images wherever `pixels` has them.

    The draws, and what a batch is made of, are those of a resident set: on a CPU batches are equal
    bit for bit. A CUDA graph cannot read, so steps on such a set run one by one.
    """

    def __init__(
        self,
        pixels: Pixels,
        y: NDArray[np.int64],
        facts: Dataset,
        device: torch.device,
        transform: Transform | None = None,
    ) -> None:
        """Copy given labels, (N,), to the device, and read nothing yet.

        Args:
            pixels: (N, C, H, W).
            facts: gives mean, std, pad, flip and crop; its own images are not looked at.
            transform: augments what is cropped and mirrored already.
        """
        super().__init__(pixels.shape, y, facts, device, transform)
        self._pixels = pixels
        # of the last batch: which it is, and its images, for another view of them
        self._last: tuple[Tensor, Tensor] | None = None

    reads = True

    def _raw(self, order: Tensor, batch_size: int) -> Iterator[Raw]:
        with reading(self._pixels.read(order.cpu().numpy(), batch_size)) as batches:
            for k, x in enumerate(batches):
                stored = self._on_device(x)
                index = order[k * batch_size : k * batch_size + len(x)]
                self._last = index.clone(), stored  # no view, which would hold the whole order
                yield Raw(stored, torch.arange(len(x), device=stored.device))

    def _some(self, index: Tensor) -> Raw:
        if self._last is not None:
            held, stored = self._last
            places = _places(index, held)
            if places is not None:
                return Raw(stored, places)
        stored = self._on_device(self._pixels[index.cpu().numpy()])
        return Raw(stored, torch.arange(len(index), device=stored.device))

    def _plain(self, batch_size: int) -> Iterator[Tensor]:
        with reading(self._pixels.read(np.arange(len(self)), batch_size)) as batches:
            for x in batches:
                yield self._augmentation.plain(self._on_device(x))

    def _on_device(self, x: NDArray[np.uint8]) -> Tensor:
        stored = torch.from_numpy(self._augmentation.stored(x))
        if self._y.device.type != "cuda":
            return stored.to(self._y.device)
        return stored.pin_memory().to(self._y.device, non_blocking=True)


def _places(index: Tensor, held: Tensor) -> Tensor | None:
    """Return where each of `index`, (n,), is in `held`, (B,); None if not all are."""
    matches = index[:, None] == held
    if not bool(matches.any(dim=1).all()):
        return None
    return matches.int().argmax(dim=1)
