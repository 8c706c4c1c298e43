"""The sets of images that one cell trains on and is evaluated on, on its device."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curvetune.config import CellConfig
from curvetune.config.plugins import PLUGINS, Transform
from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.residence import image_set, is_streamed
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset
from curvetune.methods.curvenet import kept, low_loss_samples
from curvetune.methods.shared.objective import Subset
from curvetune.seeding import torch_stream
from curvetune.training.split import clean_images, evaluated, load_split, verified_flags


class CellSets:
    """The sets of a cell's split.

    Attributes:
        train: what is trained on, wherever its images are.
        test: what is evaluated on.
    """

    def __init__(
        self, cell: CellConfig, digest: str, dataset: Dataset, storage: Path, device: torch.device
    ) -> None:
        self._cell, self._dataset, self._device = cell, dataset, device
        self.split = load_split(cell, digest, dataset, storage)
        self.train, self.test = self._images()

    def meta(self, curves: Tensor | None) -> ResidentSet | None:
        """Return where the method's meta batches come from: clean images, or low-loss samples."""
        source = self._cell.method.meta_set
        if source is None:
            return None
        if source == "clean":
            index = clean_images(self._cell, self.split, self._dataset)
            return self._resident(index, self._dataset.train.y[index])
        wanted = self._cell.method.low_loss
        assert wanted is not None
        assert curves is not None
        chosen = low_loss_samples(
            kept(curves, wanted.removed, wanted.drop_last),
            torch.tensor(self.split.y, device=self._device),
            self._dataset.num_classes,
            wanted.per_class,
        ).cpu()
        return self._resident(self.split.train[chosen], self.split.y[chosen])

    def verified(self) -> Tensor | None:
        """Return which given labels somebody has judged, (N,), if the data comes with that."""
        flags = verified_flags(self.split, self._dataset)
        return None if flags is None else torch.tensor(flags, device=self._device)

    def half(self) -> Subset:
        """Return a random half of the training set, the same for every recipe."""
        order = torch.randperm(len(self.train), generator=torch_stream(self._cell.seed, "half"))
        half = order[: len(order) // 2].sort().values.to(self._device)
        return Subset(half, torch_stream(self._cell.seed, "probe.half", self._device))

    def _images(self) -> tuple[ImageSet, ImageSet]:
        """Return what is trained on and what is evaluated on, wherever their images are."""
        dataset, device, split = self._dataset, self._device, self.split
        streamed = is_streamed(dataset, self._cell.data.residence, device)
        given = dataset.train, split.train, split.y
        train = image_set(*given, dataset, device, self._transform(), streamed=streamed)
        asked = evaluated(split, dataset)
        return train, image_set(*asked, dataset, device, streamed=streamed)

    def _resident(self, index: NDArray[np.int64], y: NDArray[np.int64]) -> ResidentSet:
        x = self._dataset.train.x[index]
        return ResidentSet(x, y, self._dataset, self._device, self._transform())

    def _transform(self) -> Transform | None:
        return PLUGINS.transforms.get(self._cell.data.transform or "")
