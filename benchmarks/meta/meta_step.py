"""The meta step against the double backward, `higher` and a plain SGD step.

Claims, on ResNet-32 with batches of 128 CIFAR-sized images, channels-last, float32:
  1. `weight_gradient` is several times faster than the double backward, with equal numbers;
  2. the whole allocating step of CurveNet is several times faster than the same step written with
     `higher`, the library of the paper's released code; and how many plain SGD steps it costs.

    pip install -e ".[bench]"
    python -m benchmarks.meta.meta_step --pairs 10 --threads 2
    python -m benchmarks.meta.meta_step --pairs 30 --threads 2 --skip-layers 0

Each ratio is the median, with quartiles, over back-to-back pairs in one process. Rows are appended
to benchmarks/results/meta_step.csv. The numbers agree: the relative difference of the gradients,
and of the classifiers after one step, is printed beside each ratio.
"""

import argparse
from collections.abc import Callable
from typing import Any

import higher
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.timing import append, quartiles, ratios
from curvetune import models
from curvetune.batch import Batch
from curvetune.config import AllocateConfig, CurveNetConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.meta import weight_gradient
from curvetune.methods import Parts, curvenet
from curvetune.training.engine import prepare

BATCH, EPOCHS, LR = 128, 300, 0.1


def random_batch(seed: int, device: torch.device) -> Batch:
    """Return a batch of random images, channels-last."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, 3, 32, 32, generator=generator).to(device)
    y = torch.randint(10, (BATCH,), generator=generator).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    return Batch(x, y, torch.arange(BATCH, device=device))


def new_model(device: torch.device) -> nn.Module:
    """Return the same ResNet-32 every time."""
    model = models.build("resnet32", 10, generator=torch.Generator().manual_seed(0))
    return model.to(device).to(memory_format=torch.channels_last)


def random_set(device: torch.device) -> ResidentSet:
    """Return a training set that a builder may look at; the steps get their batches directly."""
    pixels = np.zeros((BATCH, 3, 32, 32), np.uint8)
    images = Images(pixels, random_batch(1, torch.device("cpu")).y.numpy())
    facts = Dataset("random", images, images, ("",) * 10, (0.0,) * 3, (1.0,) * 3, 4, True)
    return ResidentSet(np.asarray(images.x), images.y, facts, device)


def double_backward(
    model: nn.Module, batch: Batch, meta: Batch, weights: Tensor, skip_layers: int
) -> Tensor:
    """Return d(meta loss)/d(weights) by differentiating through the virtual step."""
    live: nn.Module = model
    x, meta_x = batch.x, meta.x
    if skip_layers:
        stages: Any = model.stages
        frozen, live = stages[:skip_layers].eval(), stages[skip_layers:]
        with torch.no_grad():
            x, meta_x = frozen(x), frozen(meta_x)
        frozen.train()
    params = dict(live.named_parameters())
    stats = {name: buffer.clone() for name, buffer in live.named_buffers()}
    weights = weights.clone().requires_grad_()
    logits = functional_call(live, {**params, **stats}, (x,))
    loss = (weights * F.cross_entropy(logits, batch.y, reduction="none")).mean()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {name: p - LR * g for (name, p), g in zip(params.items(), slopes, strict=True)}
    meta_loss = F.cross_entropy(functional_call(live, {**ahead, **stats}, (meta_x,)), meta.y)
    return torch.autograd.grad(meta_loss, weights)[0]


class HigherStep:
    """The allocating step with `higher`: a virtual copy, a double backward.

    Source: jiangwenj02/CurveNet-V1 (processor/recognition_curve.py). As there, frozen stages are in
    eval mode in the copy and take no gradient.
    """

    def __init__(self, skip_layers: int, device: torch.device) -> None:
        self.method: Any = allocating_step(skip_layers, device)
        self.skip_layers = skip_layers

    def __call__(self, batch: Batch, meta: Batch) -> None:
        """Take one step."""
        model, optimizer = self.method.model, self.method._optimizer
        learner = self.method._learner
        self._freeze(model, frozen=True)
        with higher.innerloop_ctx(model, optimizer) as (virtual, virtual_optimizer):
            losses = F.cross_entropy(virtual(batch.x), batch.y, reduction="none")
            weights = learner._weigh(batch, losses.detach())
            virtual_optimizer.step((weights * losses).mean())
            meta_loss = F.cross_entropy(virtual(meta.x), meta.y)
            learner._optimizer.zero_grad()
            slopes = torch.autograd.grad(meta_loss, list(learner.net.parameters()))
        self._freeze(model, frozen=False)
        for param, slope in zip(learner.net.parameters(), slopes, strict=True):
            param.grad = slope
        learner._optimizer.step()
        losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
        weights = learner.weights(batch, losses.detach())
        optimizer.zero_grad()
        (weights * losses).mean().backward()
        optimizer.step()

    def _freeze(self, model: nn.Module, *, frozen: bool) -> None:
        stages: Any = model.stages
        for stage in stages[: self.skip_layers]:
            stage.train(not frozen)
            stage.requires_grad_(not frozen)


def allocating_step(skip_layers: int, device: torch.device) -> Any:
    """Return CurveNet in the release profile, with one step of momentum behind it."""
    generator = torch.Generator().manual_seed(3)
    parts = Parts(
        new_model=lambda _: new_model(device),
        recipe=AllocateConfig(warmup=0),
        first_drop=80,
        y=random_batch(1, device).y,
        num_classes=10,
        train=random_set(device),
        generator=torch.Generator().manual_seed(0),
        draws=torch.Generator(device).manual_seed(0),
        curves=torch.rand(BATCH, EPOCHS, generator=generator).to(device),
    )
    method = curvenet.build(CurveNetConfig(skip_layers=skip_layers), parts)
    method.start_epoch(0)
    return method


def plain_step(device: torch.device) -> Callable[[Batch, Batch], object]:
    """Return a step of SGD on the cross entropy of a batch, which makes no use of a meta batch."""
    model = new_model(device)
    sgd = torch.optim.SGD(model.parameters(), LR, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step(batch: Batch, _: Batch) -> None:
        sgd.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()  # type: ignore[no-untyped-call]
        sgd.step()

    return step


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the relative difference of two tensors."""
    return float((found - expected).norm() / expected.norm())


def flat(model: nn.Module) -> Tensor:
    """Return all parameters in one tensor."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def measure_gradient(device: torch.device, skip_layers: int, pairs: int) -> dict[str, object]:
    """Compare `weight_gradient` with the double backward."""
    model, batch, meta = new_model(device), random_batch(1, device), random_batch(2, device)
    weights = torch.rand(BATCH, generator=torch.Generator().manual_seed(4)).to(device)

    def fast() -> Tensor:
        return weight_gradient(model, batch, meta, weights, LR, skip_layers=skip_layers)

    def slow() -> Tensor:
        return double_backward(model, batch, meta, weights, skip_layers)

    agreement = difference(fast(), slow())
    return row(
        "weight_gradient", "double backward", skip_layers, ratios(slow, fast, pairs), agreement
    )


def measure_step(device: torch.device, skip_layers: int, pairs: int) -> list[dict[str, object]]:
    """Compare the whole allocating step with `higher`'s and with a plain SGD step."""
    batch, meta = random_batch(1, device), random_batch(2, device)
    ours, theirs = allocating_step(skip_layers, device), HigherStep(skip_layers, device)
    ours.step(batch, meta)
    theirs(batch, meta)
    agreement = difference(flat(ours.model), flat(theirs.method.model))
    plain = plain_step(device)

    def our_step() -> object:
        return ours.step(batch, meta)

    against_higher = ratios(lambda: theirs(batch, meta), our_step, pairs)
    against_plain = ratios(our_step, lambda: plain(batch, meta), pairs)
    return [
        row("allocating step", "higher", skip_layers, against_higher, agreement),
        row("plain SGD step", "allocating step", skip_layers, against_plain, float("nan")),
    ]


def row(
    fast: str, slow: str, skip_layers: int, values: list[float], agreement: float
) -> dict[str, object]:
    """Return one line of the table, printed as it is made."""
    low, middle, high = quartiles(values)
    print(
        f"{fast:16} vs {slow:16} SL {skip_layers}: {middle:.2f}x ({low:.2f} to {high:.2f}), ",
        end="",
    )
    print(f"n {len(values)}, relative difference {agreement:.1e}", flush=True)
    return {
        "benchmark": "meta_step",
        "fast": fast,
        "slow": slow,
        "skip_layers": skip_layers,
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": len(values),
        "relative_difference": f"{agreement:.1e}",
    }


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-layers", type=int, nargs="+", default=[0, 1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(device)
    rows = [measure_gradient(device, skip, options.pairs) for skip in options.skip_layers]
    for skip in options.skip_layers:
        rows += measure_step(device, skip, options.pairs)
    append(rows)


if __name__ == "__main__":
    main()
