"""Many small cells on one machine: one after another, at the same time, or stacked into one.

Claim: on a CPU, where a step is large (ResNet-32, batch 128) nothing beats one cell after another;
where it is small (ResNet-8, batch 16) a process per core does, which is what Ray starts. Eight
small cells in two stacks of grouped convolutions are twice as fast again, but only where all cells
have the same network, batch and schedule (docs/log.md). On a GPU: not measured.

    python -m benchmarks.training.many_cells --cases digits-16 --cells 2 8
    python -m benchmarks.training.many_cells --cases cifar-128 --cells 2
    PYTHONPATH=. python -m benchmarks.training.many_cells  # with PyTorch alone, on a GPU

Every way keeps its memory until its case is done: eight ResNet-32 with batches of 128 want more
than 24 GiB on a CPU.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.timing import append, quartiles, seconds
from benchmarks.training.stacks import SEPARATE, STACKS, difference
from benchmarks.training.ways import Crowd, Steps, Way, here, prepare, processes, streams, threads

CASES = {
    "digits-16": Crowd("resnet8", 1, 8, 16, ()),
    "digits-32": Crowd("resnet8", 1, 8, 32, ()),
    "cifar-16": Crowd("resnet32", 3, 32, 16, ()),
    "cifar-128": Crowd("resnet32", 3, 32, 128, ()),
}
ALLOWED = 1e-9  # relative difference in float64 of stacked and separate steps
WARM_UP = 1  # rounds that do not count


class Run(NamedTuple):
    """What a step of all cells took on average, in seconds."""

    wall_s: float
    cpu_s: float


Runs = dict[Way, list[Run]]  # by round


def ways_on_cpu(crowd: Crowd) -> list[Callable[[], Way]]:
    """Return what to call for each way to run the cells of `crowd` on a CPU."""
    count = min(crowd.threads, len(crowd.cells))
    stacks = [replace(crowd, stack=name) for name in STACKS if name != SEPARATE]
    starts: list[Callable[[], Way]] = [partial(here, "in turn", crowd)]
    if count > 1:
        starts.append(partial(threads, f"{count} threads", crowd, count))
        starts.append(partial(processes, f"{count} processes", crowd, count))
    starts += [partial(here, stack.stack, stack) for stack in stacks]
    if 1 < count <= len(crowd.cells) / 2:  # else there is nothing to stack in a process
        starts += [
            partial(processes, f"{count} processes, {stack.stack}", stack, count)
            for stack in stacks
        ]
    return starts


def ways_on_gpu(crowd: Crowd) -> list[Callable[[], Way]]:
    """Return what to call for each way to run the cells of `crowd` on a GPU."""
    count = len(crowd.cells)
    graphs = replace(crowd, graph=True)
    starts: list[Callable[[], Way]] = [
        partial(here, "in turn", crowd),
        partial(here, "in turn, graphs", graphs),
        partial(threads, f"{count} threads and streams", crowd, count),
        partial(streams, f"{count} streams, graphs", graphs),
        partial(processes, f"{count} processes", crowd, count),
        partial(processes, f"{count} processes, graphs", graphs, count),
    ]
    for name in STACKS:
        if name != SEPARATE:
            starts.append(partial(here, name, replace(crowd, stack=name)))
            starts.append(partial(here, f"{name}, graphs", replace(graphs, stack=name)))
    return starts


def check(crowd: Crowd, stack: str) -> float:
    """Return how far stacked steps are from separate ones in float32; in float64 they must agree.

    Raises:
        ArithmeticError: they do not.
    """
    few = replace(crowd, cells=(0, 1, 2), batch=4)
    found = {}
    for dtype in (torch.float32, torch.float64):
        here = replace(few, dtype=dtype)
        made = STACKS[stack](here.networks()), STACKS[SEPARATE](here.networks())
        found[dtype] = difference(*made, here.batches(), steps=2)
    if not found[torch.float64] < ALLOWED:
        raise ArithmeticError(
            f"{stack} steps of {crowd.model} differ from separate ones by {found[torch.float64]:g} "
            f"in float64; at most {ALLOWED:g} is rounding: find the error in stacks.py"
        )
    return found[torch.float32]


def measure(crowd: Crowd, rounds: int, round_s: float) -> Runs:
    """Return the runs of all ways, which take turns: one run of each in a round."""
    started: list[Way] = []
    runs: Runs = {}
    try:
        for start in (ways_on_gpu if crowd.device == "cuda" else ways_on_cpu)(crowd):
            started.append(start())
        steps = steps_of_a_round(crowd, started, round_s)
        for k in range(WARM_UP + rounds):
            for way in started:
                run = timed(way, steps)
                if k >= WARM_UP:
                    runs.setdefault(way, []).append(run)
    finally:
        for way in started:
            way.close()
    return runs


def steps_of_a_round(crowd: Crowd, ways: list[Way], round_s: float) -> Steps:
    """Return how many steps of each cell take about `round_s` the fastest way, in whole graphs."""
    unit = replace(crowd, graph=crowd.device == "cuda").steps_per_call
    fastest_s = min(timed(way, unit).wall_s for way in ways)
    return unit * max(1, round(round_s / (fastest_s * unit)))


def timed(way: Way, steps: Steps) -> Run:
    """Return what a step of all cells took."""
    cpu = 0.0

    def work() -> None:
        nonlocal cpu
        before = time.process_time()
        cpu = way.run(steps) + time.process_time() - before

    return Run(seconds(work) / steps, cpu / steps)


def rows(crowd: Crowd, runs: Runs, differences: Mapping[str, float]) -> list[dict[str, object]]:
    """Return a line for each way, against the best one that does not stack; print them."""
    best = min((w for w in runs if w.stack == SEPARATE), key=lambda w: wall(runs[w]))
    print(f"\n{crowd.model}, batch {crowd.batch}, {len(crowd.cells)} cells, ", end="")
    print(f"{crowd.threads} threads, n {len(runs[best])}, against {best.name}:")
    lines = []
    for way, mine in runs.items():
        pairs = list(zip(runs[best], mine, strict=True))
        low, middle, high = quartiles([other.wall_s / run.wall_s for other, run in pairs])
        cpu = median(other.cpu_s / run.cpu_s for other, run in pairs)
        rate = len(crowd.cells) / wall(mine)
        cpu_ms = 1000 * median(run.cpu_s for run in mine) / len(crowd.cells)
        print(f"  {way.name:36} {rate:8.1f} steps/s, CPU {cpu_ms:7.2f} ms a step, ", end="")
        print(f"{middle:.2f}x ({low:.2f} to {high:.2f}), {cpu:.2f}x by CPU time", flush=True)
        lines.append(
            {
                "benchmark": "many_cells",
                "fast": way.name,
                "slow": best.name,
                "model": crowd.model,
                "batch": crowd.batch,
                "cells": len(crowd.cells),
                "steps_per_s": f"{rate:.2f}",
                "cpu_ms_per_step": f"{cpu_ms:.3f}",
                "cpu_ratio": f"{cpu:.3f}",
                "ratio": f"{middle:.3f}",
                "lower_quartile": f"{low:.3f}",
                "upper_quartile": f"{high:.3f}",
                "n": len(mine),
                "relative_difference": f"{differences[way.stack]:.1e}",
            }
        )
    return lines


def wall(runs: list[Run]) -> float:
    """Return the median time of a step of all cells, in seconds."""
    return median(run.wall_s for run in runs)


def main() -> None:
    """Run everything and append the rows, those of one case as soon as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cells", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--rounds", type=int, default=7, help="at least 2; 7 unless told")
    parser.add_argument("--round-s", type=float, default=0.5, help="of one way's part of a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU, in all")
    parser.add_argument("--dry", action="store_true", help="append nothing to the results")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepare(device)
    for name in options.cases:
        case = replace(CASES[name], device=device, threads=options.threads)
        differences = {stack: check(case, stack) for stack in STACKS}
        for count in options.cells:
            crowd = replace(case, cells=tuple(range(count)))
            lines = rows(crowd, measure(crowd, options.rounds, options.round_s), differences)
            torch.set_num_threads(options.threads)
            if not options.dry:
                append(lines)


if __name__ == "__main__":
    main()
