"""Random features, and a toy problem with planted wrong labels, for tests of what sees features."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from toy import (
    NUM_CLASSES,
    labels,
    pretrained,
    toy_parts,
    toy_set,
)

from curvetune import methods
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images

WRONG = torch.tensor([4, 9, 14, 25, 36, 47])  # samples whose given label is made wrong


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(rand(*shape, seed=seed).abs())


def noisy_method(config: Any, verified: Tensor | None = None) -> Any:
    """Return a method whose classifier is trained and whose training labels are wrong at `WRONG`.

    The images of classes 0 and 1 have the other's label there.

    Args:
        verified: flags that the data comes with.
    """
    y = labels()
    y[WRONG] = 1 - y[WRONG]
    pixels = toy_set()._images.numpy()
    images = Images(pixels, y.numpy())
    names = tuple(str(k) for k in range(NUM_CLASSES))
    facts = Dataset("toy", images, images, names, (64.0,), (64.0,), pad=0, flip=False)
    train = ResidentSet(pixels, y.numpy(), facts, torch.device("cpu"))
    parts = replace(toy_parts(config), y=y, train=train, new_model=lambda k: pretrained())
    parts = replace(parts, verified=verified)
    return methods.build(config, parts)
