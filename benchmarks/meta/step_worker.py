"""A process that makes allocating steps of CurveNet when it is asked to, for sixteen_speed.py.

    PYTHONPATH=CHECKOUT python benchmarks/meta/step_worker.py PRECISION SKIP_LAYERS

It uses the package of CHECKOUT, so that two commits can be compared step by step. Each line that
it reads is a step; it answers with the seconds on the clock and those of the processor.
"""

import importlib
import sys
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from curvetune import models
from curvetune.batch import Batch
from curvetune.config import AllocateConfig, CurveNetConfig
from curvetune.data.source import Dataset, Images
from curvetune.methods import Parts, curvenet

SIZE, CURVE, CPU = 128, 300, torch.device("cpu")
IS_NOW = (
    find_spec("curvetune.training") is not None
)  # else of commit aa53525, which has other names
SETS = importlib.import_module(f"curvetune.data{'.sets' if IS_NOW else ''}.resident")
ENGINE = importlib.import_module(f"curvetune.{'training' if IS_NOW else 'train'}.engine")


def random_batch(seed: int) -> Batch:
    """Return a batch of random images, channels-last."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(SIZE, 3, 32, 32, generator=draws)
    y = torch.randint(10, (SIZE,), generator=draws)
    return Batch(x.contiguous(memory_format=torch.channels_last), y, torch.arange(SIZE))


def allocating(precision: str, skip_layers: int) -> Any:
    """Return CurveNet in the release profile on a ResNet-32."""
    draws = torch.Generator().manual_seed(0)
    model = models.build("resnet32", 10, precision=precision, generator=draws)
    pixels = np.zeros((SIZE, 3, 32, 32), np.uint8)
    images = Images(pixels, random_batch(1).y.numpy())
    facts = Dataset("random", images, images, ("",) * 10, (0.0,) * 3, (1.0,) * 3, 4, True)
    parts = Parts(
        new_model=lambda _: model.to(memory_format=torch.channels_last),
        recipe=AllocateConfig(),
        first_drop=80,
        y=random_batch(1).y,
        num_classes=10,
        train=SETS.ResidentSet(np.asarray(images.x), images.y, facts, CPU),
        generator=torch.Generator().manual_seed(0),
        draws=torch.Generator().manual_seed(0),
        curves=torch.rand(SIZE, CURVE, generator=draws),
    )
    method = curvenet.build(CurveNetConfig(skip_layers=skip_layers), parts)
    method.start_epoch(0)
    return method


def main() -> None:
    """Answer until there is nothing left to read."""
    torch.set_num_threads(1)
    ENGINE.prepare(CPU)
    method = allocating(sys.argv[1], int(sys.argv[2]))
    batch, meta = random_batch(1), random_batch(2)
    for _ in sys.stdin:
        clock, processor = time.perf_counter(), time.process_time()
        method.step(batch, meta)
        seconds = time.perf_counter() - clock, time.process_time() - processor
        sys.stdout.write(f"{seconds[0]} {seconds[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
