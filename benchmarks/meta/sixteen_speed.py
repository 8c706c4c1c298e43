"""The allocating step in 16 bits on a CPU, against float32 and against an earlier commit.

Claim: on a processor with AVX512-BF16, one thread, ResNet-32 and batches of 128, the allocating
step with `precision=bfloat16-onednn` is at least 2.3 times as fast as with float32.

    git worktree add BASE aa53525
    python -m benchmarks.meta.sixteen_speed --against BASE --pairs 9 --skip-layers 0 3

Each precision of each commit is a process of its own (step_worker.py), and one runs at a time.
They take turns, so a pair is back to back. Each ratio is the median, with quartiles, over pairs: of
the clock, and of the processor's time, which other work on the machine disturbs less. Rows are
appended to benchmarks/results/sixteen_speed.csv.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.timing import append, quartiles

HERE = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("step_worker.py")
WARM_UP = 2
ONEDNN = "bfloat16-onednn"


class Worker:
    """A process that makes steps of one kind when it is asked."""

    def __init__(self, checkout: Path, precision: str, skip_layers: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), precision, str(skip_layers)],
            env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> tuple[float, float]:
        """Return the seconds of a step, on the clock and of the processor."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        clock, processor = self._process.stdout.readline().split()
        return float(clock), float(processor)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(against: Path | None, skip_layers: int, pairs: int) -> list[dict[str, object]]:
    """Return a row for each kind of step that the one in 16 bits is compared with."""
    kinds = [(HERE, ONEDNN), (HERE, "float32"), (HERE, "bfloat16")]
    if against is not None:
        kinds += [(against, "float32"), (against, "bfloat16")]
    workers = [Worker(checkout, precision, skip_layers) for checkout, precision in kinds]
    rounds = [[worker.step() for worker in workers] for _ in range(WARM_UP + pairs)][WARM_UP:]
    for worker in workers:
        worker.close()
    return [
        row(checkout, precision, skip_layers, [(each[0], each[k]) for each in rounds])
        for k, (checkout, precision) in enumerate(kinds)
        if k
    ]


def row(
    checkout: Path,
    precision: str,
    skip_layers: int,
    timed: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> dict[str, object]:
    """Return one line of the table, printed as it is made."""
    slow = f"{precision} of {commit_of(checkout)}"
    found: dict[str, object] = {
        "benchmark": "sixteen_speed",
        "fast": ONEDNN,
        "slow": slow,
        "skip_layers": skip_layers,
        "n": len(timed),
    }
    for k, name in enumerate(("clock", "processor")):
        low, middle, high = quartiles([theirs[k] / ours[k] for ours, theirs in timed])
        found |= {
            f"{name}_ratio": f"{middle:.3f}",
            f"{name}_lower_quartile": f"{low:.3f}",
            f"{name}_upper_quartile": f"{high:.3f}",
            f"{name}_seconds": f"{quartiles([ours[k] for ours, _ in timed])[1]:.3f}",
        }
        print(
            f"SL {skip_layers}: {ONEDNN} is {middle:.2f} ({low:.2f} to {high:.2f}) times as fast "
            f"as {slow} by the {name}, n {len(timed)}",
            flush=True,
        )
    return found


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="checkout of an earlier commit")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--skip-layers", type=int, nargs="+", default=[0, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in the workers: the rows say so
    for skip_layers in options.skip_layers:
        append(measure(options.against, skip_layers, options.pairs))


if __name__ == "__main__":
    main()
