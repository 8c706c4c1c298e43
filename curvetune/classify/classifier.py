"""A trained classifier with all that it needs: images go in, and classes come out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from curvetune.classify.raw import Picture, raw_images
from curvetune.data.augment import ResizedCrop, normalise
from curvetune.data.sets.image_set import PIXELS_AT_ONCE
from curvetune.training.classifier_facts import ClassifierFacts

BATCH = 500  # images at once, if they are small


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of N images."""

    class_names: tuple[str, ...]  # (K,)
    probabilities: NDArray[np.float32]  # (N, K)

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The likeliest class of each image, (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def names(self) -> list[str]:
        """The name of the likeliest class of each image, (N,)."""
        return [self.class_names[k] for k in self.labels]

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """Return the likeliest classes of each image with their probabilities, likeliest first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self.class_names[k], float(row[k])) for k in best]
            for row, best in zip(self.probabilities, order, strict=True)
        ]


class Classifier(nn.Module):
    """A network, and how images are fed to it: its input is raw uint8 images, (B, C, H, W).

    Args:
        network: in eval mode, on the CPU.
        scale: what its outputs are times to be logits.
        cell_id: of the cell that it was trained in.
    """

    def __init__(
        self, network: nn.Module, scale: float, facts: ClassifierFacts, cell_id: str
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.facts = facts
        self.cell_id = cell_id
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", facts.mean), ("std", facts.std)):
            self.register_buffer(
                name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False
            )
        self._crop = None if facts.crop is None else ResizedCrop(facts.crop, facts.size, flip=False)
        self.eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, (K,)."""
        return self.facts.class_names

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, K), of raw images, (B, C, H, W) uint8 of `facts.size`."""
        x = images if self._crop is None else self._crop.plain(images)
        logits: Tensor = self.network(normalise(x, self.mean, self.std))
        return logits if self.scale == 1.0 else self.scale * logits

    def predict(self, images: Picture | Iterable[Picture]) -> Predictions:
        """Return what it says of images, on the device that it is on, batch by batch.

        Args:
            images: a file, an image of Pillow's, or several; or an array of uint8, (N, C, H, W) or
                (N, H, W, C), with the data's own raw values.

        Raises:
            DataError: one cannot be read, or an array has another shape or type.
        """
        if isinstance(images, np.ndarray | str | os.PathLike | Image.Image):
            return self.predict_raw(raw_images(images, self.facts))
        parts, rest = [], iter(images)
        while some := list(islice(rest, BATCH)):
            parts.append(self.predict_raw(raw_images(some, self.facts)).probabilities)
        return Predictions(self.class_names, np.concatenate([self._none(), *parts]))

    def predict_raw(self, raw: NDArray[np.uint8]) -> Predictions:
        """Return what it says of images that have its size already, (N, C, H, W) uint8."""
        height, width = self.facts.size
        size = max(1, min(BATCH, PIXELS_AT_ONCE // (height * width)))
        was_training, found = self.training, []
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(raw), size):
                x = torch.tensor(raw[start : start + size], device=self.mean.device)
                found.append(self(x).softmax(dim=1).float().cpu().numpy())
        self.train(was_training)
        return Predictions(self.class_names, np.concatenate([self._none(), *found]))

    def _none(self) -> NDArray[np.float32]:
        return np.empty((0, len(self.class_names)), np.float32)
