"""A small problem that every method can be run on: sixty separable images of three classes.

One class has two samples, and the network is a ResNet-8. A step takes milliseconds.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune import methods, models
from curvetune.batch import Batch
from curvetune.config import AllocateConfig, HalfConfig, MethodConfig, ProbeConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.methods import Method, Parts

NUM_SAMPLES, NUM_CLASSES, NUM_EPOCHS = 60, 3, 6

CPU = torch.device("cpu")


def labels() -> Tensor:
    """Return given labels, (N,); class 2 has two samples."""
    y = torch.arange(NUM_SAMPLES) % 2
    y[-2:] = 2
    return y


@lru_cache
def small_set(device: torch.device = CPU) -> ResidentSet:
    """Return separable images, (N, 1, 8, 8), without augmentation: every view is the image."""
    y = labels()
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(NUM_SAMPLES, 1, 8, 8, generator=generator)
    x[torch.arange(NUM_SAMPLES), 0, 2 * y, :] += 2
    pixels = (64 * x + 64).clamp(0, 255).to(torch.uint8).numpy()
    images = Images(pixels, np.asarray(y))
    names = tuple(str(k) for k in range(NUM_CLASSES))
    facts = Dataset("small", images, images, names, (64.0,), (64.0,), pad=0, flip=False)
    return ResidentSet(pixels, images.y, facts, device)


def batch_of(index: Tensor) -> Batch:
    """Return the samples of `index`, (B,)."""
    (whole,) = small_set().ordered(NUM_SAMPLES)
    return Batch(whole.x[index], whole.y[index], index)


def batches(count: int, size: int = 20) -> list[Batch]:
    """Return random batches, always the same."""
    generator = torch.Generator().manual_seed(1)
    return [batch_of(torch.randperm(NUM_SAMPLES, generator=generator)[:size]) for _ in range(count)]


def new_model(seed: int = 0) -> nn.Module:
    """Return a fresh small classifier."""
    generator = torch.Generator().manual_seed(seed)
    return models.build("resnet8", NUM_CLASSES, 1, init="kaiming", generator=generator)


@lru_cache
def _pretrained_state() -> dict[str, Tensor]:
    """Return the weights of a classifier after fifteen steps of cross entropy."""
    model = new_model(7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for batch in batches(15):
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.state_dict()


def pretrained() -> nn.Module:
    """Return a copy of a classifier that knows most of the labels."""
    model = new_model()
    model.load_state_dict(_pretrained_state())
    return model


def parts_for(
    config: MethodConfig, seed: int = 0, epochs: int = 10, device: torch.device = CPU
) -> Parts:
    """Return what the builder of a method gets, on the small problem.

    The learning rate drops at epoch 2. Curves are random; half of them are NaN for a method whose
    probe saw half of the samples.
    """
    curves = torch.rand(NUM_SAMPLES, NUM_EPOCHS, generator=torch.Generator().manual_seed(2))
    allocate = AllocateConfig(epochs=epochs, lr=0.02, warmup=0, milestones=(2,))
    if isinstance(config.probe_recipe(ProbeConfig(), allocate), HalfConfig):
        curves[::2] = torch.nan
    return Parts(
        new_model=lambda k: new_model(seed + 100 * k).to(device),
        recipe=allocate,
        first_drop=2,
        y=labels().to(device),
        num_classes=NUM_CLASSES,
        train=small_set(device),
        generator=torch.Generator().manual_seed(seed),
        draws=torch.Generator(device).manual_seed(seed + 1),
        meta=small_set(device) if config.meta_set else None,
        noise_rate=0.2,
        curves=curves.to(device),
        margins=(3 - 10 * curves).to(device),
        pretrained=lambda: pretrained().to(device),
    )


def build(
    config: MethodConfig, seed: int = 0, epochs: int = 10, device: torch.device = CPU
) -> Method:
    """Return a method on the small problem."""
    return methods.build(config, parts_for(config, seed, epochs, device))


def tensors(value: Any) -> list[Tensor]:
    """Return all tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for item in items for tensor in tensors(item)]
