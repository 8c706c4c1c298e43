"""A set of images that stays on the device as uint8 and is augmented there, batch by batch."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.batch import Batch
from curvetune.config.plugins import Transform
from curvetune.data.augment import Draws, augmentation_of, normalise
from curvetune.data.source import Dataset
from curvetune.errors import ConfigError

PIXELS_AT_ONCE = 1000 * 64 * 64  # of a batch without gradient: a ResNet-18 takes 0.5 GB for it


class ResidentSet:
    """Images and given labels on a device, ready for any number of passes.

    All that is random in a pass is drawn from its generator before the first batch. So a run that
    resumes between two passes with the generator's state goes on bit for bit, and the device
    waits for the generator's once per pass, not per batch.
    """

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
        if len(x) != len(y) or len(y) == 0:
            raise ValueError(
                f"a set needs at least one image and as many labels as images, got "
                f"{len(x)} images and {len(y)} labels"
            )
        height, width = x.shape[-2:]
        self._augmentation = augmentation_of(facts, (height, width))
        self._transform = transform
        self._stored = torch.from_numpy(self._augmentation.stored(x)).to(device)
        self._images = self._augmentation.plain(self._stored)
        self._y = torch.tensor(y, dtype=torch.int64, device=device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (facts.mean, facts.std)
        )

    def __len__(self) -> int:
        return len(self._y)

    @property
    def y(self) -> Tensor:
        """The given labels, (N,)."""
        return self._y

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator,
        *,
        augment: bool = True,
        order: Tensor | None = None,
    ) -> Iterator[Batch]:
        """Yield every sample once, in random order; the last batch may be smaller.

        Args:
            order: indices of the samples to yield instead, in this order.
        """
        device = self._y.device
        if order is None:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
            order = order.to(device)
        draws = self._draws(len(order), generator) if augment else None
        for start in range(0, len(order), batch_size):
            part = slice(start, start + batch_size)
            index = order[part]
            x = self._augmented(index, draws, part) if draws is not None else self._images[index]
            yield Batch(normalise(x, self._mean, self._std), self._y[index], index)

    def ordered(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is; the last batch may be smaller.

        Of large images all batches are, so that a thousand photographs do not fill the memory.
        """
        height, width = self._images.shape[-2:]
        batch_size = max(1, min(batch_size, PIXELS_AT_ONCE // (height * width)))
        index = torch.arange(len(self), device=self._y.device)
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            x = normalise(self._images[part], self._mean, self._std)
            yield Batch(x, self._y[part], index[part])

    def cycle(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield augmented batches for ever, all of `batch_size` or of the whole set if smaller.

        A new pass starts when less than a batch is left of the last, whose rest is left out. Take
        a new iterator for every epoch, as the released code does: its place within a pass is not
        part of the generator's state.
        """
        size = min(batch_size, len(self))
        while True:
            yield from islice(self.batches(size, generator), len(self) // size)

    def view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return another augmented view of the indexed samples, (B, C, H, W)."""
        x = self._augmented(index, self._draws(len(index), generator), slice(None))
        return normalise(x, self._mean, self._std)

    def _draws(self, count: int, generator: torch.Generator) -> tuple[Draws, Tensor | None]:
        """Return what is random about `count` samples, the numbers for the transform apart."""
        draws = self._augmentation.draw(count, generator)
        drawn = [values.to(self._y.device) for values in draws]
        if self._transform is None:
            return drawn, None
        shape = (count, self._transform.draws)
        numbers = torch.rand(shape, generator=generator, device=generator.device)
        return drawn, numbers.to(self._y.device)

    def _augmented(self, index: Tensor, drawn: tuple[Draws, Tensor | None], part: slice) -> Tensor:
        draws, numbers = drawn
        x = self._augmentation.augmented(self._stored, index, [each[part] for each in draws])
        if self._transform is None or numbers is None:
            return x
        return self._transformed(x.float(), numbers[part])

    def _transformed(self, x: Tensor, numbers: Tensor) -> Tensor:
        assert self._transform is not None
        out: Tensor = self._transform.apply(x, numbers)
        if out.shape != x.shape or out.dtype != x.dtype:
            raise ConfigError(
                f"a transform of {self._transform.ref} made {tuple(out.shape)} {out.dtype} of "
                f"{tuple(x.shape)} {x.dtype}; it has to keep both"
            )
        return out
