"""What the storage costs a probe: history, checkpoints, curves, classifier and manifest.

Claim: less than 1 % of the probe's time on a CPU, with a checkpoint every 5 epochs (the default).

    python -m benchmarks.training.store_cost --repeats 5 --threads 1

A probe's training is its number of steps times the time of a step, for each of its two batch
sizes. Its storage is a whole run of the real loop at the real size, N samples and T epochs, with
the real state, in which an epoch visits one sample and a step computes nothing; so what the loop
itself takes counts as storage. Both are timed in turn. The third probe is CIFAR-10 whole with the
released schedule, which nobody runs on a CPU: its seconds of storage say how short a probe on a GPU
may be until the storage takes 1 % of it.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import append, quartiles, seconds
from curvetune import models
from curvetune.batch import Batch
from curvetune.config import ProbeConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.probe.recording import Recording
from curvetune.store import CurveStore
from curvetune.store.names import MODEL
from curvetune.training.checkpoint import Checkpoint, save_state
from curvetune.training.engine import prepare
from curvetune.training.fit import Loop, fit

CHECKPOINT_EVERY = 5
PROBE_ID = "0" * 16
WARM_UP = 2  # steps


@dataclass(frozen=True)
class Case:
    """A probe: its data's size, its classifier, its schedule."""

    name: str
    model: str
    shape: tuple[int, int, int, int]  # (N, C, H, W)
    recipe: ProbeConfig


DIGITS = ProbeConfig(epochs=14, cyclic_start=6, half_period=1, batch_size=32, cyclic_batch_size=16)
MINI = ProbeConfig(epochs=50, cyclic_start=20, half_period=3, cyclic_batch_size=64)
CASES = (
    Case("digits", "resnet8", (1197, 1, 8, 8), DIGITS),
    Case("cifar10_mini", "resnet8", (6128, 3, 32, 32), MINI),
    Case("cifar10", "resnet32", (49_000, 3, 32, 32), ProbeConfig()),
)


class Still:
    """A method whose state is real, but which visits one sample in an epoch and learns nothing."""

    phase: object = None

    def __init__(self, real: LossMethod) -> None:
        self.model, self.state = real.model, real.state

    def start_epoch(self, epoch: int) -> Tensor | None:
        """Choose the first sample."""
        return torch.zeros(1, dtype=torch.int64)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Return a loss."""
        return {"loss": torch.ones(len(batch.y)), "logits": torch.zeros(len(batch.y), 10)}


def random_set(shape: tuple[int, int, int, int], device: torch.device) -> ResidentSet:
    """Return a training set of noise."""
    generator = np.random.default_rng(0)
    x = generator.integers(256, size=shape, dtype=np.uint8)
    y = generator.integers(10, size=len(x))
    images = Images(x[:1], y[:1])
    mean, std, pad = (127.0,) * shape[1], (64.0,) * shape[1], shape[-1] // 8
    facts = Dataset("noise", images, images, ("",) * 10, mean, std, pad, flip=True)
    return ResidentSet(x, y, facts, device)


def training(case: Case, method: LossMethod, train: ResidentSet, steps: int) -> float:
    """Return the seconds of all steps of the probe, from at most `steps` of each batch size."""
    total = 0.0
    sizes = [case.recipe.batch_size_at(epoch) for epoch in range(case.recipe.epochs)]
    for size in sorted(set(sizes)):
        count = min(steps, len(train) // size - WARM_UP)
        batches = train.batches(size, torch.Generator().manual_seed(0))
        run(method, islice(batches, WARM_UP))
        spent = seconds(partial(run, method, islice(batches, count)))
        total += spent / count * len(train) / size * sizes.count(size)
    return total


def run(method: LossMethod, batches: Iterable[Batch]) -> None:
    """Make a step for each batch."""
    for batch in batches:
        method.step(batch, None)


def storage(case: Case, method: LossMethod, train: ResidentSet) -> float:
    """Return the seconds that a whole probe of this size spends on its files, and its loop."""
    device = next(method.model.parameters()).device
    with tempfile.TemporaryDirectory() as temporary:
        store = CurveStore(temporary)
        folder = store.folder(PROBE_ID)
        loop = Loop(
            recipe=case.recipe,
            train=train,
            streams={"train": torch.Generator(device)},
            checkpoint=Checkpoint(folder / "checkpoint.safetensors", CHECKPOINT_EVERY),
            history=folder / "history.jsonl",
            record=Recording(train.y, case.recipe.records_exact_loss),
        )
        start = time.perf_counter()
        made = fit(Still(method), loop)
        save_state(folder / MODEL, {"model": method.model.state_dict()})
        loss, margins = (made.recorded[name].cpu().numpy() for name in ("loss", "margin"))
        store.write(PROBE_ID, loss, {"seconds": 1.0}, margins=margins)
        return time.perf_counter() - start


def measure(case: Case, device: torch.device, repeats: int, steps: int) -> dict[str, object]:
    """Return the row of one probe."""
    generator = torch.Generator().manual_seed(0)
    model = models.build(case.model, 10, case.shape[1], generator=generator)
    model = model.to(device).to(memory_format=torch.channels_last)
    method, train = LossMethod(model, case.recipe, cross_entropy), random_set(case.shape, device)
    pairs = [
        (storage(case, method, train), training(case, method, train, steps)) for _ in range(repeats)
    ]
    shares = quartiles([100 * stored / trained for stored, trained in pairs])
    stored, trained = (quartiles(values)[1] for values in zip(*pairs, strict=True))
    print(
        f"{case.name:13} training {trained:9.1f} s, storage {stored:7.3f} s = {shares[1]:.3f} % "
        f"({shares[0]:.3f} to {shares[2]:.3f}), n {repeats}",
        flush=True,
    )
    return {
        "benchmark": "store_cost",
        "case": case.name,
        "epochs": case.recipe.epochs,
        "samples": len(train),
        "training_s": f"{trained:.2f}",
        "storage_s": f"{stored:.3f}",
        "percent": f"{shares[1]:.4f}",
        "lower_quartile": f"{shares[0]:.4f}",
        "upper_quartile": f"{shares[2]:.4f}",
        "n": repeats,
    }


def main() -> None:
    """Measure every case and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(device)
    append([measure(case, device, options.repeats, options.steps) for case in CASES])


if __name__ == "__main__":
    main()
