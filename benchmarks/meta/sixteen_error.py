"""The error of the weight gradient in 16 bits, against float64 at the same parameters.

Claim: on CIFAR-10 with 40 % wrong labels its cosine to float64's is at least .99.

    python -m benchmarks.meta.sixteen_error --data-dir DATA

A network is trained by the recipe of the release profile, without weights. After some of its steps
the gradient of the meta loss with respect to the weights of a batch of 128 is computed in float64
and in each precision, with the optimizer's own virtual step. So the only difference is rounding.
An epoch of warm-up is `STEPS_OF_EPOCH` steps here. Rows are appended to
benchmarks/results/sixteen_error.csv.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.timing import append
from curvetune import data, models
from curvetune.batch import Batch
from curvetune.config import AllocateConfig
from curvetune.data.source import Dataset
from curvetune.meta import weight_gradient
from curvetune.models.precision import use_bfloat16
from curvetune.models.wide_resnet import WideResNet
from curvetune.training.engine import prepare

SIZE, NOISE, STEPS_OF_EPOCH = 128, 0.4, 100
SAMPLES = 100 * SIZE  # of the training set; the first two batches are those that are measured
SMALL_WRN = "wrn-10-2"  # which is no network of a cell: WRN-16-8 takes minutes in float64
PRECISIONS = ("float32", "bfloat16", "bfloat16-onednn")


def built(name: str, init: str, precision: str) -> nn.Module:
    """Return the same network every time, in one of the precisions."""
    generator = torch.Generator().manual_seed(0)
    if name != SMALL_WRN:
        model = models.build(name, 10, init=init, precision=precision, generator=generator)
    else:
        model = WideResNet(1, 2, 10, 3)
        models._initialise(model, init, generator)
        if precision != "float32":
            use_bfloat16(model, by_onednn=precision == "bfloat16-onednn")
    return model.to(memory_format=torch.channels_last)


class Images:
    """Training images with given and with true labels."""

    def __init__(self, dataset: Dataset) -> None:
        draws = np.random.default_rng(0)
        self._x = torch.from_numpy(np.asarray(dataset.train.x[np.arange(SAMPLES)]))
        self.true = np.array(dataset.train.y[:SAMPLES])
        is_wrong = draws.random(SAMPLES) < NOISE
        self.given = np.where(is_wrong, draws.integers(0, 10, SAMPLES), self.true)
        self._mean = torch.tensor(dataset.mean)[:, None, None]
        self._std = torch.tensor(dataset.std)[:, None, None]
        self._order = draws.permutation(np.arange(2 * SIZE, SAMPLES))

    def batch(self, index: NDArray[np.int64], y: NDArray[np.int64], dtype: torch.dtype) -> Batch:
        """Return these images with their labels in `y`, (N,)."""
        x = ((self._x[index].float() - self._mean) / self._std).to(dtype)
        labels = torch.from_numpy(y[index]).long()
        x = x.contiguous(memory_format=torch.channels_last)
        return Batch(x, labels, torch.arange(len(index)))

    def batches(self) -> Iterator[Batch]:
        """Yield batches to train on, for ever."""
        while True:
            for start in range(0, len(self._order) - SIZE, SIZE):
                yield self.batch(self._order[start : start + SIZE], self.given, torch.float32)


def optimizer_of(model: nn.Module, lr: float) -> torch.optim.SGD:
    """Return the optimizer of the release profile."""
    recipe = AllocateConfig()
    return torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def gradient(
    blank: nn.Module, of: nn.Module, optimizer: torch.optim.SGD, images: Images, dtype: torch.dtype
) -> Tensor:
    """Return the weight gradient of network and optimizer by the operations of `blank`."""
    model = blank.to(dtype)
    model.load_state_dict(of.state_dict())
    lr = optimizer.param_groups[0]["lr"]
    own = optimizer_of(model, lr)
    for mine, theirs in zip(model.parameters(), of.parameters(), strict=True):
        if theirs in optimizer.state:
            buffer = optimizer.state[theirs]["momentum_buffer"]
            own.state[mine]["momentum_buffer"] = buffer.to(dtype)
    batch = images.batch(np.arange(SIZE), images.given, dtype)
    meta = images.batch(np.arange(SIZE, 2 * SIZE), images.true, dtype)
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(4)).to(dtype)
    return weight_gradient(model, batch, meta, weights, lr, optimizer=own).double()


def cosine(found: Tensor, expected: Tensor) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(F.cosine_similarity(found, expected, dim=0))


def measure(name: str, init: str, steps: Sequence[int], images: Images) -> None:
    """Train a network and append a row for each precision after each of `steps`."""
    model = built(name, init, "bfloat16-onednn")
    recipe = AllocateConfig()
    optimizer = optimizer_of(model, recipe.lr_at(0))
    for step, batch in zip(range(max(steps) + 1), images.batches(), strict=False):
        optimizer.param_groups[0]["lr"] = recipe.lr_at(step // STEPS_OF_EPOCH)
        if step in steps:
            exact = gradient(built(name, init, "float32"), model, optimizer, images, torch.float64)
            rows = []
            for precision in PRECISIONS:
                blank = built(name, init, precision)
                found = gradient(blank, model, optimizer, images, torch.float32)
                case = {"network": name, "init": init, "steps": step, "precision": precision}
                rows.append(row(case, found, exact))
            append(rows)
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def row(case: dict[str, object], found: Tensor, exact: Tensor) -> dict[str, object]:
    """Return one line of the table, printed as it is made."""
    error = float((found - exact).norm() / exact.norm())
    angle, centred = cosine(found, exact), cosine(found - found.mean(), exact - exact.mean())
    print(
        " ".join(f"{value!s:15}" for value in case.values()),
        f"cosine {angle:.5f}, centred {centred:.5f}, relative error {error:.4f}",
        flush=True,
    )
    return {
        "benchmark": "sixteen_error",
        **case,
        "cosine": f"{angle:.6f}",
        "centred_cosine": f"{centred:.6f}",
        "relative_error": f"{error:.2e}",
    }


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["resnet8", "resnet32", SMALL_WRN])
    parser.add_argument("--inits", nargs="+", default=["normal", "kaiming"])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 30, 300])
    options = parser.parse_args()
    torch.set_num_threads(1)
    prepare(torch.device("cpu"))
    images = Images(data.load("cifar10", options.data_dir))
    for name in options.networks:
        for init in options.inits:
            measure(name, init, options.steps, images)


if __name__ == "__main__":
    main()
