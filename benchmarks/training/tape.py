"""What a step of the first grid takes from a tape, relative to the ordinary step.

Claim: with ResNet-8 on digits, a step of a method that learns weights takes at most 0.75 of the
processor time, with the same bits; a step of cross entropy at most 0.9.

    python -m benchmarks.training.tape

Back-to-back pairs of 10 steps each, on one thread, in processor time: so other work on the machine
counts only as far as it takes the caches.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.timing import append, quartiles
from curvetune.batch import Batch
from curvetune.config import AllocateConfig, MWNetNoiseConfig
from curvetune.methods import Method
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.mw_net_noise import LossNet, MetaWeightNet
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.reweight import WeightLearner
from curvetune.models.resnet import ResNet
from curvetune.training.engine import Eager, Engine, prepare
from curvetune.training.tape.taped import Taped

STEPS = 10  # in each half of a pair
WARM_UP = 6  # steps: one ordinary, one recorded, one compared


def digits_batch(size: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 1, 8, 8, generator=generator).to(memory_format=torch.channels_last)
    return Batch(x, torch.randint(10, (size,), generator=generator), torch.arange(size))


def network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(1, 10, 1).to(memory_format=torch.channels_last)


def plain() -> Method:
    return LossMethod(network(), AllocateConfig(), cross_entropy, with_logits=True)


def learning() -> Method:
    config = MWNetNoiseConfig()
    net = LossNet(config.hidden, torch.Generator().manual_seed(0))
    learner = WeightLearner(
        net, lambda batch, losses: net(losses), config, virtual_step=config.virtual_step
    )
    return MetaWeightNet(network(), AllocateConfig(), learner)


def steps(engine: Engine, method: Method, size: int, *, meta: bool) -> Iterator[object]:
    """Yield after each step, without end."""
    batch, other = digits_batch(size, 1), digits_batch(size, 2) if meta else None
    method.start_epoch(3)
    return engine.run(method, itertools.repeat((batch, other)))


def processor_seconds(run: Iterator[object]) -> float:
    start = time.process_time()
    for _ in range(STEPS):
        next(run)
    return time.process_time() - start


def measure(
    case: str, make: Callable[[], Method], size: int, pairs: int, *, meta: bool
) -> dict[str, object]:
    """Return the row of a case."""
    taped = Taped()
    runs = steps(Eager(), make(), size, meta=meta), steps(taped, make(), size, meta=meta)
    for run in runs:
        for _ in range(WARM_UP):
            next(run)
    assert taped.refused is None, taped.refused
    both = [(processor_seconds(runs[0]), processor_seconds(runs[1])) for _ in range(pairs)]
    low, middle, high = quartiles([after / before for before, after in both])
    ordinary = 1000 * quartiles([before for before, _ in both])[1] / STEPS
    print(f"{case}: {middle:.2f} ({low:.2f} to {high:.2f}), n {pairs}; ordinary {ordinary:.2f} ms")
    return {
        "benchmark": "tape",
        "case": case,
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "ordinary_ms": f"{ordinary:.2f}",
        "n": pairs,
    }


def main() -> None:
    """Measure and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--dry", action="store_true", help="append no rows to the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prepare(torch.device("cpu"))
    rows = [
        measure("cross-entropy, batch 32", plain, 32, options.pairs, meta=False),
        measure("cross-entropy, batch 16", plain, 16, options.pairs, meta=False),
        measure("mw-net-noise, batch 32", learning, 32, options.pairs, meta=True),
    ]
    if not options.dry:
        append(rows)


if __name__ == "__main__":
    main()
