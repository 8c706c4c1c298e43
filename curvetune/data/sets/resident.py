"""A set of images that stays on the device as uint8 and is augmented there, batch by batch."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.config.plugins import Transform
from curvetune.data.sets.image_set import ImageSet, Raw
from curvetune.data.source import Dataset


class ResidentSet(ImageSet):
    """Images and given labels on a device: nothing is read during a pass."""

    def __init__(
        self,
        x: NDArray[np.uint8],
        y: NDArray[np.int64],
        facts: Dataset,
        device: torch.device,
        transform: Transform | None = None,
    ) -> None:
        """Copy images (N, C, H, W) and given labels (N,) to the device.

        Args:
            facts: gives mean, std, pad, flip and crop; its own images are not looked at.
            transform: augments what is cropped and mirrored already.
        """
        super().__init__(x.shape, y, facts, device, transform)
        self._stored = torch.from_numpy(self._augmentation.stored(x)).to(device)
        self._images = self._augmentation.plain(self._stored)

    reads = False

    def _raw(self, order: Tensor, batch_size: int) -> Iterator[Raw]:
        return (
            Raw(self._stored, order[start : start + batch_size])
            for start in range(0, len(order), batch_size)
        )

    def _some(self, index: Tensor) -> Raw:
        return Raw(self._stored, index)

    def _plain(self, batch_size: int) -> Iterator[Tensor]:
        return (
            self._images[start : start + batch_size] for start in range(0, len(self), batch_size)
        )
