"""Which of torchvision's classifiers the meta gradient goes through, and how: results/networks.csv.

    python -m benchmarks.meta.networks

One small member of each family. Its stages are what `skip_layers` can freeze; 0 means none could be
derived. The mode is forward where `check_forward_mode` finds forward mode right, else the double
backward, else finite differences alone.
"""

import argparse

import torch

from benchmarks.timing import append
from curvetune import models
from curvetune.config.networks import TORCHVISION
from curvetune.meta import check_forward_mode

# The size of images that each is tried on: small, where the family allows it.
NETWORKS = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 32,
    "googlenet": 32,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnet50": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
    "swin_v2_t": 256,
    "vgg11_bn": 32,
    "vit_b_32": 32,
    "wide_resnet50_2": 32,
}


def look_at(name: str, size: int) -> dict[str, object]:
    """Return the row of a network, printed as it is made."""
    generator = torch.Generator().manual_seed(0)
    model = models.build(f"{TORCHVISION}{name}", 10, 3, image_size=size, generator=generator)
    verdict = check_forward_mode(model, (3, size, size), 10)
    mode = verdict.mode if verdict.agrees else "finite difference"
    stages = getattr(model, "stages", ())
    print(f"{name:20} {size:4} {len(stages):3} stages  {mode} ({verdict.error:.1e})", flush=True)
    return {
        "benchmark": "networks",
        "network": name,
        "image_size": size,
        "stages": len(stages),
        "mode": mode,
        "forward_error": f"{verdict.error:.1e}",
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main() -> None:
    """Look at all and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    append([look_at(name, NETWORKS[name]) for name in parser.parse_args().names])


if __name__ == "__main__":
    main()
