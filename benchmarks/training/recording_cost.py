"""What it costs a probe to record margins and exact losses, beside losses as training has them.

Claim: less than 1 % of the probe's time, and half of the curves' space more.

    python -m benchmarks.training.recording_cost --pairs 30 --threads 1

Both are the real loop over real steps on images of noise, for whole epochs of each batch size that
the probe has; evaluation and files are in neither. A pair is one run of each, in turn the one first
and then the other. Times are of the processor, since others may use this machine as well. What is
left of their noise is larger than the cost. So what recording adds is timed alone too: the copy of
each batch's logits, and what is made of them once an epoch.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import append, quartiles, seconds
from benchmarks.training.store_cost import CASES, Case, random_set
from curvetune import models
from curvetune.data.sets.resident import ResidentSet
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.probe.recording import Recording
from curvetune.training.checkpoint import Checkpoint
from curvetune.training.engine import prepare
from curvetune.training.fit import Loop, Samples, Trained, fit

NAMES = ("digits", "cifar10_mini")  # the third would take an hour on a CPU
REPEATS = 50


def loss_alone(samples: Samples) -> Samples:
    """Keep of each epoch what was kept before there were margins."""
    return {"loss": samples["loss"]}


def run(case: Case, train: ResidentSet, *, recorded: bool) -> tuple[float, Trained]:
    """Return the processor's seconds of one epoch of each batch size, and what was made."""
    sizes = sorted({case.recipe.batch_size_at(epoch) for epoch in range(case.recipe.epochs)})
    generator = torch.Generator().manual_seed(0)
    model = models.build(case.model, 10, case.shape[1], generator=generator)
    model = model.to(memory_format=torch.channels_last)
    spent = 0.0
    for size in sizes:
        recipe = case.recipe.model_copy(update={"epochs": 1, "cyclic_start": 1, "batch_size": size})
        method = LossMethod(model, recipe, cross_entropy, with_logits=recorded)
        with tempfile.TemporaryDirectory() as folder:
            loop = Loop(
                recipe=recipe,
                train=train,
                streams={"train": torch.Generator().manual_seed(0)},
                checkpoint=Checkpoint(Path(folder) / "checkpoint.safetensors", 1000),
                history=Path(folder) / "history.jsonl",
                record=Recording(train.y, with_exact_loss=True) if recorded else loss_alone,
            )
            start = time.process_time()
            made = fit(method, loop)
            spent += time.process_time() - start
    return spent, made


def alone(case: Case, train: ResidentSet) -> float:
    """Return the least seconds that recording takes in one epoch of each batch size."""
    sizes = sorted({case.recipe.batch_size_at(epoch) for epoch in range(case.recipe.epochs)})
    samples = {"loss": torch.rand(len(train)), "logits": torch.randn(len(train), 10)}
    made = torch.randn(max(sizes), 10)  # by a step
    record = Recording(train.y, with_exact_loss=True)

    def once(order: Tensor, size: int) -> None:
        for start in range(0, len(order), size):
            index = order[start : start + size]
            samples["logits"][index] = made[: len(index)]
        record(samples)

    order = torch.randperm(len(train))
    return sum(min(seconds(partial(once, order, size)) for _ in range(REPEATS)) for size in sizes)


def measure(case: Case, pairs: int) -> dict[str, object]:
    """Return the row of one probe."""
    train = random_set(case.shape, torch.device("cpu"))
    run(case, train, recorded=True)
    more, without, space = [], [], 0.0
    for k in range(pairs):
        times = {}
        for recorded in (True, False) if k % 2 else (False, True):
            times[recorded], made = run(case, train, recorded=recorded)
            if recorded:
                sizes = {name: v.numel() * v.element_size() for name, v in made.recorded.items()}
                space = sizes["margin"] / sizes["loss"]
        more.append(100 * (times[True] / times[False] - 1))
        without.append(times[False])
    low, middle, high = quartiles(more)
    part = 100 * alone(case, train) / statistics.median(without)
    told = f"{middle:+.3f} % ({low:+.3f} to {high:+.3f}), n {pairs}; alone {part:.3f} %"
    print(f"{case.name:13} {told}", flush=True)
    return {
        "benchmark": "recording_cost",
        "case": case.name,
        "samples": len(train),
        "percent": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": pairs,
        "alone_percent": f"{part:.3f}",
        "space": f"{space:.2f}",
    }


def main() -> None:
    """Measure every case and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(torch.device("cpu"))
    append([measure(case, options.pairs) for case in CASES if case.name in NAMES])


if __name__ == "__main__":
    main()
