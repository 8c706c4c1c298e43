"""What the check of forward mode costs, in steps of CurveNet: it runs once for each network.

    python -m benchmarks.meta.check_cost

The check runs a tiny batch in float64 (`curvetune/meta/check.py`); a step has batch 128 of
3×32×32, or 64 of digits' 1×8×8. Each row is the ratio of a check over a step, of back-to-back
pairs; its first call in the process is a pair of its own, and left out as warm-up.
"""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.timing import append, quartiles, ratios
from curvetune import models
from curvetune.batch import Batch
from curvetune.config import AllocateConfig, CurveNetConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.meta import check_forward_mode
from curvetune.methods import Parts, curvenet
from curvetune.training.engine import prepare

EPOCHS = 300
CURVENET = CurveNetConfig()
CASES = {  # name of the case: network, batch, image
    "resnet8, digits": ("resnet8", 64, (1, 8, 8)),
    "resnet8": ("resnet8", 128, (3, 32, 32)),
    "resnet32": ("resnet32", 128, (3, 32, 32)),
}


def curvenet_step(
    name: str,
    size: int,
    shape: tuple[int, int, int],
    device: torch.device,
    config: CurveNetConfig = CURVENET,
) -> Any:
    """Return CurveNet, in the release profile unless told otherwise, and a batch for it."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(size, *shape, generator=draws).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (size,), generator=draws)
    images = Images(np.zeros((size, *shape), np.uint8), y.numpy())
    numbers = (0.0,) * shape[0], (1.0,) * shape[0]
    facts = Dataset("random", images, images, ("",) * 10, *numbers, 4, True)
    model = models.build(name, 10, shape[0], generator=draws)
    parts = Parts(
        new_model=lambda _: model.to(device).to(memory_format=torch.channels_last),
        recipe=AllocateConfig(warmup=0),
        first_drop=80,
        y=y.to(device),
        num_classes=10,
        train=ResidentSet(np.asarray(images.x), images.y, facts, device),
        generator=torch.Generator().manual_seed(0),
        draws=torch.Generator(device).manual_seed(0),
        curves=torch.rand(size, EPOCHS, generator=draws).to(device),
    )
    method = curvenet.build(config, parts)
    method.start_epoch(0)
    return method, Batch(x.to(device), y.to(device), torch.arange(size, device=device))


def measure(case: str, device: torch.device, pairs: int) -> dict[str, object]:
    """Return the row of a case, printed as it is made."""
    name, size, shape = CASES[case]
    method, batch = curvenet_step(name, size, shape, device)

    def check() -> object:
        return check_forward_mode(method.model, shape, 10)

    verdict = check_forward_mode(method.model, shape, 10)
    low, middle, high = quartiles(ratios(check, lambda: method.step(batch, batch), pairs))
    print(
        f"{case:16} check over step: {middle:.3f} ({low:.3f} to {high:.3f}), n {pairs}", flush=True
    )
    return {
        "benchmark": "check_cost",
        "case": case,
        "batch": size,
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": pairs,
        "error": f"{verdict.error:.1e}",
    }


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(device)
    for case in CASES:
        append([measure(case, device, options.pairs)])


if __name__ == "__main__":
    main()
