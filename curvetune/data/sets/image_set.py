"""What sets have in common wherever their images are: order, draws, and what a batch is made of.

All that is random in a pass is drawn from its generator before the first batch. So a run that
resumes between two passes with the generator's state goes on bit for bit, and the device waits for
the generator's once per pass, not per batch. It also makes a streamed set equal to a resident one:
how images come has no say in what is drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.batch import Batch
from curvetune.config.plugins import Transform
from curvetune.data.augment import Draws, augmentation_of, normalise
from curvetune.data.sets.reading import reading
from curvetune.data.source import Dataset
from curvetune.errors import ConfigError

PIXELS_AT_ONCE = 1000 * 64 * 64  # of a batch without gradient: a ResNet-18 takes 0.6 GB for it


class Raw(NamedTuple):
    """Images as they are stored, and which of them a batch is made of."""

    stored: Tensor  # (n, C, …) uint8, on the device, as the augmentation takes it
    rows: Tensor  # (B,) of `stored`


class ImageSet(ABC):
    """Images and given labels, ready for any number of passes on a device.

    Whoever leaves a pass early closes it (`reading`), since it may read ahead.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        y: NDArray[np.int64],
        facts: Dataset,
        device: torch.device,
        transform: Transform | None,
    ) -> None:
        """Bring given labels, (N,), to the device; a streamed set on a CPU shares `y`.

        Args:
            shape: of the images, (N, C, H, W).
            facts: gives mean, std, pad, flip and crop; its own images are not looked at.
            transform: augments what is cropped and mirrored already.
        """
        if shape[0] != len(y) or len(y) == 0:
            raise ValueError(
                f"a set needs at least one image and as many labels as images, got "
                f"{shape[0]} images and {len(y)} labels"
            )
        height, width = shape[-2:]
        self._augmentation = augmentation_of(facts, (height, width))
        self._transform = transform
        self._height, self._width = (facts.crop or size for size in (height, width))
        shares = self.reads and y.dtype == np.int64 and y.flags.writeable
        self._y = (torch.from_numpy(y) if shares else torch.tensor(y, dtype=torch.int64)).to(device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (facts.mean, facts.std)
        )

    @abstractmethod
    def _raw(self, order: Tensor, batch_size: int) -> Iterator[Raw]:
        """Yield the images of `order`, (n,), `batch_size` at a time."""

    @abstractmethod
    def _some(self, index: Tensor) -> Raw:
        """Return the indexed images, perhaps of the batch that was yielded last."""

    @abstractmethod
    def _plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order as evaluation sees them, (B, C, h, w) uint8."""

    def __len__(self) -> int:
        return len(self._y)

    @property
    @abstractmethod
    def reads(self) -> bool:
        """Whether images are read during a pass."""

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
        if order is None:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
            order = order.to(self._y.device)
        draws = self._draws(len(order), generator) if augment else None
        with reading(self._raw(order, batch_size)) as raws:
            for k, raw in enumerate(raws):
                part = slice(k * batch_size, (k + 1) * batch_size)
                x = self._augmented(raw, draws, part) if draws is not None else self._bare(raw)
                index = order[part]
                yield Batch(normalise(x, self._mean, self._std), self._y[index], index)

    def ordered(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is; the last batch may be smaller.

        Of large images all batches are, so that a thousand photographs do not fill the memory.
        """
        size = max(1, min(batch_size, PIXELS_AT_ONCE // (self._height * self._width)))
        index = torch.arange(len(self), device=self._y.device)
        with reading(self._plain(size)) as images:
            for k, x in enumerate(images):
                part = slice(k * size, (k + 1) * size)
                yield Batch(normalise(x, self._mean, self._std), self._y[part], index[part])

    def cycle(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield augmented batches for ever, all of `batch_size` or of the whole set if smaller.

        A new pass starts when less than a batch is left of the last, whose rest is left out. Take
        a new iterator for every epoch, as the released code does: its place within a pass is not
        part of the generator's state.
        """
        size = min(batch_size, len(self))
        while True:
            with reading(self.batches(size, generator)) as batches:
                yield from islice(batches, len(self) // size)

    def view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return another augmented view of the indexed samples, (B, C, H, W)."""
        x = self._augmented(self._some(index), self._draws(len(index), generator), slice(None))
        return normalise(x, self._mean, self._std)

    def _draws(self, count: int, generator: torch.Generator) -> tuple[Draws, Tensor | None]:
        """Return what is random about `count` samples, the numbers for the transform apart."""
        draws = self._augmentation.draw(count, generator)
        drawn = [self._small(values).to(self._y.device) for values in draws]
        if self._transform is None:
            return drawn, None
        shape = (count, self._transform.draws)
        numbers = torch.rand(shape, generator=generator, device=generator.device)
        return drawn, numbers.to(self._y.device)

    def _small(self, values: Tensor) -> Tensor:
        """Return draws in 16 bits, which hold any place in an image, where a set may be large."""
        return values.to(torch.int16) if self.reads and values.dtype == torch.int64 else values

    def _bare(self, raw: Raw) -> Tensor:
        return self._augmentation.plain(raw.stored)[raw.rows]

    def _augmented(self, raw: Raw, drawn: tuple[Draws, Tensor | None], part: slice) -> Tensor:
        draws, numbers = drawn
        x = self._augmentation.augmented(raw.stored, raw.rows, [each[part] for each in draws])
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
