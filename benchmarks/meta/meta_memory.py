"""Peak memory of the meta step against the double backward, `higher` and a plain SGD step.

Claim: `weight_gradient` needs at most 60 % of the memory of the double backward at SL 0.

    pip install -e ".[bench]"
    python -m benchmarks.meta.meta_memory --repeats 5

ResNet-32, batches of 128 CIFAR-sized images, channels-last, float32. Each number comes from a
process of its own: on a CPU the growth of the peak of resident memory (VmHWM) over what the process
held before the step, which includes the libraries' own workspace; on a GPU what PyTorch's allocator
had at most. Both sides run with the same malloc settings. A step on two images comes before, so
that nothing is counted which is made once.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.meta.meta_step import (
    LR,
    HigherStep,
    allocating_step,
    double_backward,
    new_model,
    plain_step,
    random_batch,
)
from benchmarks.timing import append
from curvetune.batch import Batch
from curvetune.meta import weight_gradient

MIB = 1 << 20
PAIRS = (  # what is claimed to need less, what more, skip_layers
    ("weight_gradient", "double backward", 0),
    ("weight_gradient", "double backward", 3),
    ("allocating step", "higher", 0),
    ("allocating step", "higher", 3),
    ("plain SGD step", "allocating step", 0),
)


def step_of(name: str, skip_layers: int, device: torch.device) -> Callable[[Batch, Batch], object]:
    """Return a step on a training batch and a meta batch."""
    if name in ("weight_gradient", "double backward"):
        model = new_model(device)
        weights = torch.rand(128, generator=torch.Generator().manual_seed(4)).to(device)

        def gradient(batch: Batch, meta: Batch) -> Tensor:
            some = weights[: len(batch.y)]
            if name == "double backward":
                return double_backward(model, batch, meta, some, skip_layers)
            return weight_gradient(model, batch, meta, some, LR, skip_layers=skip_layers)

        return gradient
    if name == "higher":
        return HigherStep(skip_layers, device)
    if name == "allocating step":
        step: Callable[[Batch, Batch], object] = allocating_step(skip_layers, device).step
        return step
    return plain_step(device)


def measure(name: str, skip_layers: int) -> float:
    """Return the peak of one step, in MiB, over what was held before; in a process of its own."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    step = step_of(name, skip_layers, device)
    batch, meta = random_batch(1, device), random_batch(2, device)
    few = Batch(*(tensor[:2] for tensor in batch))
    step(few, few)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(batch, meta)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    resident = status("VmRSS")
    step(batch, meta)
    return status("VmHWM") - resident


def status(key: str) -> float:
    """Return a number of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def in_a_process(name: str, skip_layers: int) -> float:
    """Run `measure` in a fresh process."""
    command = [sys.executable, __file__, "--one", name, "--skip-layers", str(skip_layers)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare(less: str, more: str, skip_layers: int, repeats: int) -> dict[str, object]:
    """Return a row, printed as it is made."""
    pairs = [
        (in_a_process(less, skip_layers), in_a_process(more, skip_layers)) for _ in range(repeats)
    ]
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(
        f"{less:16} {mine:7.0f} MiB, {more:16} {theirs:7.0f} MiB, SL {skip_layers}: "
        f"{middle:.2f} ({low:.2f} to {high:.2f}), n {repeats}",
        flush=True,
    )
    return {
        "benchmark": "meta_memory",
        "fast": less,
        "slow": more,
        "skip_layers": skip_layers,
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": repeats,
        "mib": f"{mine:.0f}",
        "mib_slow": f"{theirs:.0f}",
    }


def main() -> None:
    """Run everything and append the rows, or print one measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one")
    parser.add_argument("--skip-layers", type=int, default=0)
    options = parser.parse_args()
    if options.one:
        print(measure(options.one, options.skip_layers))
        return
    torch.set_num_threads(1)
    append([compare(*pair, options.repeats) for pair in PAIRS])


if __name__ == "__main__":
    main()
