"""What `update: lag-1` and `meta_every` save of a step that learns weights.

Claim: 8 forward-equivalents instead of 10, so a late step takes 0.8 of an exact one; with an
update at every second step, 5.5 on average.

    python -m benchmarks.meta.late_weights --rounds 15 --threads 1

ResNet-8 and ResNet-32, batches of 128 CIFAR-sized images, channels-last, float32. A round is a
plain step of SGD, a step that learns, the same step late, and a step that only asks the net, back
to back. Each row is a ratio of rounds, of wall and of processor time: another process on the
machine lengthens the first, hardly the second. Rows are appended to results/late_weights.csv.
"""

import argparse
import time
from collections.abc import Callable

import torch

from benchmarks.meta.check_cost import curvenet_step
from benchmarks.timing import WARM_UP, append, quartiles
from curvetune.config import CurveNetConfig
from curvetune.methods.base import descend
from curvetune.training.engine import prepare

SHAPE, BATCH = (3, 32, 32), 128
CPU = torch.device("cpu")
Times = dict[str, float]
RATIOS: dict[str, Callable[[Times], float]] = {
    "lag-1 over exact": lambda t: t["late"] / t["exact"],
    "lag-1, meta_every 2 over exact": lambda t: (t["late"] + t["asking"]) / 2 / t["exact"],
    "meta_every 2 over exact": lambda t: (t["exact"] + t["asking"]) / 2 / t["exact"],
    "exact in plain steps": lambda t: t["exact"] / t["plain"],
    "lag-1 in plain steps": lambda t: t["late"] / t["plain"],
    "lag-1, meta_every 2 in plain steps": lambda t: (t["late"] + t["asking"]) / 2 / t["plain"],
}


def steps_of(network: str) -> dict[str, Callable[[], object]]:
    """Return the steps of a round, in order."""
    exact, batch = curvenet_step(network, BATCH, SHAPE, CPU)
    late, meta = curvenet_step(network, BATCH, SHAPE, CPU, CurveNetConfig(update="lag-1"))
    plain, _ = curvenet_step(network, BATCH, SHAPE, CPU)
    loss = torch.nn.functional.cross_entropy
    return {
        "plain": lambda: descend(loss(plain.model(batch.x), batch.y), plain._optimizer),
        "exact": lambda: exact.step(batch, meta),
        "late": lambda: late.step(batch, meta),
        "asking": lambda: late.step(batch, None),
    }


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and the processor seconds of a step."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(network: str, rounds: int) -> list[dict[str, object]]:
    """Return a row for each ratio, printed as it is made."""
    steps = steps_of(network)
    walls: list[Times] = []
    processors: list[Times] = []
    for _ in range(WARM_UP + rounds):
        both = {name: timed(step) for name, step in steps.items()}
        walls.append({name: wall for name, (wall, _) in both.items()})
        processors.append({name: processor for name, (_, processor) in both.items()})
    rows: list[dict[str, object]] = []
    for case, ratio in RATIOS.items():
        low, middle, high = quartiles([ratio(t) for t in processors[WARM_UP:]])
        wall = quartiles([ratio(t) for t in walls[WARM_UP:]])
        said = f"{middle:.3f} ({low:.3f} to {high:.3f}), wall {wall[1]:.3f}"
        print(f"{network:9} {case:34} {said}, n {rounds}", flush=True)
        rows.append(
            {
                "benchmark": "late_weights",
                "network": network,
                "case": case,
                "ratio": f"{middle:.3f}",
                "lower_quartile": f"{low:.3f}",
                "upper_quartile": f"{high:.3f}",
                "wall_ratio": f"{wall[1]:.3f}",
                "wall_lower_quartile": f"{wall[0]:.3f}",
                "wall_upper_quartile": f"{wall[2]:.3f}",
                "n": rounds,
            }
        )
    return rows


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(CPU)
    for network in ("resnet8", "resnet32"):
        append(measure(network, options.rounds))


if __name__ == "__main__":
    main()
