"""How long a training step takes, and how much of it is the learning of weights (Table 8).

Pairs of steps on the same batch, back to back: one that updates the weight network, and one that
only asks it (`meta_every` has such steps). Their difference is the meta step. The device is waited
for before and after each, which the released code does not do before. The steps are eager: a grid
on a GPU, which replays CUDA graphs, is faster.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from curvetune import methods
from curvetune.batch import Batch
from curvetune.config import CellConfig, WeightNetConfig
from curvetune.data.recipe import cropped
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset
from curvetune.methods import Method, Parts
from curvetune.seeding import torch_stream
from curvetune.training.classifier import first_classifier, ready_to_train

WARM_UP = 2  # pairs that do not count
LEAST, MOST = 5, 50  # pairs
BUDGET_S = 20.0

Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class StepTime:
    """Milliseconds, as lower quartile, median and upper quartile over `pairs`."""

    meta_ms: Quartiles
    iteration_ms: Quartiles
    pairs: int


def time_steps(
    cell: CellConfig, dataset: Dataset, device: torch.device, *, budget_s: float = BUDGET_S
) -> StepTime:
    """Return how long a step of a cell takes that learns sample weights, on random images.

    Args:
        dataset: gives the size of images and the number of classes.
        budget_s: no further pair is begun after that time, but for the least there must be.

    Raises:
        ValueError: the cell's method learns no weights.
    """
    if not isinstance(cell.method, WeightNetConfig):
        raise ValueError(f"{cell.method.name} learns no sample weights, so it has no meta step")
    dataset = cropped(dataset, cell.data.crop_size)
    method = _method(cell, dataset, device)
    batch = _batch(cell.allocate.batch_size, dataset, device, seed=0)
    meta = _batch(cell.method.meta_batch_size, dataset, device, seed=1)
    learning: list[float] = []
    asking: list[float] = []
    started = time.perf_counter()
    while len(learning) < WARM_UP + MOST:
        is_enough = len(learning) >= WARM_UP + LEAST
        if is_enough and time.perf_counter() - started > budget_s:
            break
        learning.append(_seconds(lambda: method.step(batch, meta), device))
        asking.append(_seconds(lambda: method.step(batch, None), device))
    pairs = list(zip(learning, asking, strict=True))[WARM_UP:]
    return StepTime(
        meta_ms=_quartiles([with_meta - without for with_meta, without in pairs]),
        iteration_ms=_quartiles([with_meta for with_meta, _ in pairs]),
        pairs=len(pairs),
    )


def _method(cell: CellConfig, dataset: Dataset, device: torch.device) -> Method:
    """Return the cell's method on a training set of one batch, in an epoch that learns."""
    size = cell.allocate.batch_size
    train = _batch(size, dataset, torch.device("cpu"), seed=0)
    recipe = cell.probe_recipe
    curves = margins = None
    if recipe is not None:
        curves, margins = (
            torch.rand(size, recipe.epochs, generator=torch_stream(0, name)).to(device)
            for name in ("curves", "margins")
        )

    def new_model(_: int) -> torch.nn.Module:
        model = first_classifier(cell.model, dataset, torch_stream(0, "model"))
        return ready_to_train(model, device)

    images = np.zeros((size, *dataset.train.x.shape[1:]), np.uint8)
    parts = Parts(
        new_model=new_model,
        recipe=cell.allocate,
        first_drop=cell.allocate.first_drop,
        y=train.y.to(device),
        num_classes=dataset.num_classes,
        train=ResidentSet(images, train.y.numpy(), dataset, device),
        generator=torch_stream(0, "method"),
        draws=torch_stream(0, "method.draws", device),
        curves=curves,
        margins=margins,
    )
    method = methods.build(cell.method, parts)
    method.start_epoch(0)
    return method


def _batch(size: int, dataset: Dataset, device: torch.device, *, seed: int) -> Batch:
    generator = torch_stream(seed, "batch")
    x = torch.randn(size, *dataset.input_shape, generator=generator)
    y = torch.arange(size) % dataset.num_classes  # every class is there
    x = x.to(device).contiguous(memory_format=torch.channels_last)
    return Batch(x, y.to(device), torch.arange(size, device=device))


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _quartiles(seconds: list[float]) -> Quartiles:
    low, middle, high = statistics.quantiles([1000 * s for s in seconds], n=4)
    return low, middle, high
