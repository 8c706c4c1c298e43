"""What a second host costs: a grid on two hosts against one host with as many slots.

Claim: a grid of 40 short cells on 10 probes takes at most 5 % longer on two hosts with two slots
each than on one host with four. The hosts are those of tests/cluster (namespaces with a network
each), so what is measured is what curvetune and Ray do, not a real network.

    sudo python -m benchmarks.grids.two_hosts

Each of the two clusters has a head of its own that runs no trial. Both stay up, and take turns. A
cell waits for a second where it would probe and for half a second where it would train
(stand_in.py). The clock runs in the driver, from before it reaches the cluster until the last cell
is done. Workers have the usual niceness, not Ray's 15, so that a busy machine disturbs them less.
"""

import argparse
import functools
import importlib
import json
import logging
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.grids.orchestration import DIGEST, SHORT, plan_of
from benchmarks.grids.stand_in import run_cell
from benchmarks.timing import append, quartiles
from curvetune.planning.plan import cell_json
from curvetune.planning.resources import LaunchOptions
from curvetune.store import CellStore

ROOT = Path(__file__).parents[2]
SLOTS = 4
ONE, TWO = ("h1", ("h2",)), ("h3", ("h4", "h5"))  # a head, and the hosts that run trials
WARM_UP = 1  # pairs that do not count


def drive(address: str, storage: Path, probes: int, readers: int) -> float:
    """Run the grid as the driver on one of the hosts; return how long it took."""
    from curvetune.tune.launch import launch

    plan = plan_of(SHORT.cells(probes, readers), storage)
    entries = [cell_json(cell) for cell in plan.cells]
    grid = {"cells": entries, "command": "two_hosts.py", "data_digest": DIGEST}
    CellStore(storage).write_grid(plan.name, grid)
    options = LaunchOptions(address=address, gpus_per_trial=0)
    began = time.perf_counter()
    assert launch(plan, None, storage, options, run_cell=functools.partial(run_cell, pace=SHORT))
    return time.perf_counter() - began


class Hosts:
    """A bed with both clusters."""

    def __init__(self, bed: Any) -> None:
        self._bed = bed
        self._runs = 0
        bed.up(5)
        for head, workers in (ONE, TWO):
            for host in (head, *workers):
                bed.env[host] = {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}
            bed.head(head, "--num-cpus=0")
            for host in workers:
                bed.worker(host, head, f"--num-cpus={SLOTS // len(workers)}")

    def seconds(self, head: str, options: argparse.Namespace) -> float:
        """Return what the grid takes on the cluster of `head`."""
        self._runs += 1
        storage = f"/mnt/shared/{self._runs}"
        size = ["--probes", str(options.probes), "--readers", str(options.readers)]
        words = ["python", "-m", __spec__.name, *size]
        (self._bed.shared / str(self._runs)).mkdir()
        code, output = self._bed.run(
            head, *words, "--drive", self._bed.at(head), storage, timeout_s=300.0
        )
        assert code == 0, output
        return float(json.loads(output.splitlines()[-1]))


def measure(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Return the seconds of back-to-back pairs: one host, two hosts."""
    sys.path[:0] = [str(ROOT / "tests" / "cluster")]
    found = []
    with importlib.import_module("bed").a_bed() as bed:
        hosts = Hosts(bed)
        for k in range(WARM_UP + options.pairs):
            order = (ONE, TWO) if k % 2 else (TWO, ONE)
            took = {head: hosts.seconds(head, options) for head, _ in order}
            pair = took[ONE[0]], took[TWO[0]]
            print(f"  one host {pair[0]:.2f} s, two hosts {pair[1]:.2f} s", flush=True)
            found.append(pair)
    return found[WARM_UP:]


def row(pairs: list[tuple[float, float]], options: argparse.Namespace) -> dict[str, object]:
    """Return what the pairs come to."""
    low, middle, high = quartiles([two / one for one, two in pairs])
    work_s = options.probes * (SHORT.probe_s + options.readers * SHORT.allocate_s) / SLOTS
    return {
        "benchmark": "two_hosts",
        "cells": options.probes * options.readers,
        "slots": SLOTS,
        "work_s": f"{work_s:.1f}",
        "one_host_s": f"{median(one for one, _ in pairs):.2f}",
        "two_hosts_s": f"{median(two for _, two in pairs):.2f}",
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": len(pairs),
    }


def main() -> None:
    """Measure, print and append the row; or be the driver."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=10)
    parser.add_argument("--readers", type=int, default=4, help="cells that read one probe")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="append nothing to the results")
    parser.add_argument("--drive", nargs=2, metavar=("ADDRESS", "STORAGE"), help="be the driver")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.drive:
        address, storage = options.drive
        print(json.dumps(drive(address, Path(storage), options.probes, options.readers)))
        return
    found = row(measure(options), options)
    print(found)
    if not options.dry:
        append([found])


if __name__ == "__main__":
    main()
