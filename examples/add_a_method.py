"""A method of your own, from its formula to its accuracy: this file, a section and two rows.

    python examples/add_a_method.py

trains one cell of scikit-learn's digits, 40 % of whose labels are wrong, in less than a minute. In
the package the same method is a file in `curvetune/methods/`, a row of `METHODS` there, and a
section in `curvetune/config/` that is a member of the union `_Method` in its `cell.py`; then grids,
the command line and the conformance suite (`tests/methods/test_methods.py`) know it too.

The method is generalised cross entropy, (1 − p_y^q) / q: cross entropy as q → 0, the robust mean
absolute error at q = 1.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig, MethodConfig, add_method
from curvetune.config.profiles import apply_profile
from curvetune.methods import METHODS, Method, Parts
from curvetune.methods.shared.objective import LossMethod


class GCEConfig(MethodConfig):
    """Generalised cross entropy: between cross entropy and the mean absolute error."""

    source = "Zhang and Sabuncu, NeurIPS 2018"

    name: Literal["gce"] = "gce"
    power: Annotated[float, Field(gt=0, le=1, description="q: 1 is the most robust.")] = 0.7


def generalised_cross_entropy(logits: Tensor, y: Tensor, *, power: float) -> Tensor:
    """Return (1 − p_y^q) / q of each sample, (B,), from logits (B, K) and labels (B,)."""
    log_p = logits.log_softmax(dim=1).gather(1, y[:, None]).squeeze(1)
    return -torch.expm1(power * log_p) / power


def build(config: GCEConfig, parts: Parts) -> Method:
    """Build the method from its section: one loss is all that differs from cross entropy."""
    loss = partial(generalised_cross_entropy, power=config.power)
    return LossMethod(parts.new_model(0), parts.recipe, loss)


def register() -> None:
    """Add a row to each of the two tables."""
    add_method(GCEConfig)
    METHODS["gce"] = build


def main() -> None:
    register()
    cell = CellConfig.model_validate(  # what a search space in YAML would say
        {
            "data": {"name": "digits"},
            "bias": {"noise": "symmetric", "noise_rate": 0.4},
            "model": {"name": "resnet8", "init": "kaiming"},
            "allocate": {"batch_size": 32, "warmup": 0, "milestones": []},
            "method": {"name": "gce", "power": 0.7},
        }
    )
    cell = apply_profile(cell, "smoke")  # three epochs
    digits, digest = data.load("digits"), data.digest("digits")
    with tempfile.TemporaryDirectory() as storage:
        done = run_cell(cell, digest, digits, Path(storage), device=torch.device("cpu"))
    accuracies = f"accuracy {done['accuracy']:.1f} %, best {done['accuracy_best']:.1f} %"
    print(f"{cell.method.name} on digits, {done['num_samples']} images: {accuracies}")


if __name__ == "__main__":
    main()
