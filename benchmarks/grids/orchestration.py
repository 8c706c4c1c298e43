"""What running trials costs beside their work: seconds lost, idle GPUs, start-up, the driver's CPU.

Claim: 40 short cells on 10 probes lose less time than a plain Ray Tune run in which each trial
probes for itself; a trial that is not the first of its GPU starts in less than 1 s; the driver uses
less than 5 % of a core while 4 trials run.

    python -m benchmarks.grids.orchestration

Four GPUs that do not exist; a cell waits for a second where it would probe and for half a second
where it would train (stand_in.py). The grid runs as `curvetune grid` does, with its live table and
its MLflow database. Ray itself is started before the clock. A second, longer run of 4 cells at
once, one epoch in half a second each, gives the driver's CPU: its own processor time over the time
in which all 4 run, the first 10 seconds left out (imports and the making of the database are told
apart). Ray gives its workers niceness 15, so run it on a quiet machine.

Lost per trial = (wall time x GPUs - work that is needed) / trials. Work that is needed: each probe
once and each final training once. Start-up = from the end of a trial to the start of the next one
on the same GPU.
"""

import argparse
import contextlib
import functools
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console
from rich.table import Table

from benchmarks.grids.driver_cpu import Sampler, window
from benchmarks.grids.stand_in import Pace, plain_trial, run_cell
from benchmarks.grids.timeline import Timeline, read_timeline
from benchmarks.timing import append
from curvetune.config import CellConfig
from curvetune.planning.plan import Plan, build_plan, cell_json
from curvetune.planning.space import Space
from curvetune.status.live import LiveProgress
from curvetune.store import CellStore, CurveStore
from curvetune.tracking.sync.thread import TrackerThread
from curvetune.tune.early import PRELOADED
from curvetune.tune.job import FAKE_GPUS
from curvetune.tune.launch import launch

DIGEST = "0" * 64
GPUS = 4
SHORT = Pace(epoch_s=0.1, probe_epochs=10, allocate_epochs=5)
SETTLED_S = 10.0  # imports of MLflow, tables of its database
EPOCH_S = 0.5  # of the long run


@contextlib.contextmanager
def fake_cluster(cpus: int, *, preload: bool) -> Iterator[None]:
    """Start Ray here with GPUs that do not exist."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 silences only the old output
    os.environ[FAKE_GPUS] = "1"
    if preload:
        os.environ |= {"RAY_preload_python_modules": PRELOADED}  # as a Ray that `grid` starts
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=GPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    try:
        yield
    finally:
        ray.shutdown()


def curvetune_run(
    cells: Sequence[CellConfig], pace: Pace, storage: Path, *, screen: bool
) -> Timeline:
    """Run cells as `curvetune grid` does; return when what ran."""
    plan = plan_of(cells, storage)
    entries = [cell_json(cell) for cell in plan.cells]
    grid = {"cells": entries, "command": "orchestration.py", "data_digest": DIGEST}
    CellStore(storage).write_grid(plan.name, grid)
    work = functools.partial(run_cell, pace=pace)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, force_terminal=screen, width=120, height=50)
        began = time.time()
        with TrackerThread(storage, plan.name), LiveProgress(storage, plan.name, console):
            assert launch(plan, None, storage, run_cell=work)
            wall_s = time.time() - began
    return read_timeline(storage, began, wall_s, GPUS)


def plan_of(cells: Sequence[CellConfig], storage: Path) -> Plan:
    return build_plan(
        Space("orchestration", tuple(cells)),
        DIGEST,
        is_done=lambda _: False,
        has_probe=CurveStore(storage).has,
    )


def plain_run(trials: int, cpus: float, pace: Pace, storage: Path) -> Timeline:
    """Run the same cells as a user of Ray Tune would at first; return when what ran."""
    trainable = tune.with_parameters(plain_trial, pace=pace, storage=storage)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus / GPUS, "gpu": 1}),
        param_space={"cell": tune.grid_search(list(range(trials)))},
        run_config=tune.RunConfig(name="plain", storage_path=str(storage / "ray"), verbose=0),
    )
    began = time.time()
    results = tuner.fit()
    wall_s = time.time() - began
    assert results.num_terminated == trials
    return read_timeline(storage, began, wall_s, GPUS)


def row(case: str, timeline: Timeline, needed_s: float, cpu: float) -> dict[str, object]:
    """Return what a run comes to, for the table and for the results."""
    median_s, worst_s = timeline.startups()
    return {
        "benchmark": "orchestration",
        "case": case,
        "wall_s": f"{timeline.wall_s:.1f}",
        "needed_s": f"{needed_s / GPUS:.1f}",
        "first_start_s": f"{timeline.first_s():.1f}",
        "end_s": f"{timeline.end_s():.1f}",
        "lost_s_per_trial": f"{timeline.lost_per_trial(needed_s):.2f}",
        "gpu_idle_percent": f"{100 * timeline.idle_share():.1f}",
        "startup_median_s": f"{median_s:.2f}",
        "startup_worst_s": f"{worst_s:.2f}",
        "driver_cpu_percent": f"{100 * cpu:.1f}",
        "n": len(timeline.trials),
    }


def short_runs(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of the 40 cells: curvetune's and plain Ray Tune's."""
    cells = SHORT.cells(options.probes, options.readers)
    needed_s = options.probes * SHORT.probe_s + len(cells) * SHORT.allocate_s
    for case in options.cases:
        storage = folder / case
        storage.mkdir()
        with fake_cluster(options.cpus, preload=options.preload), Sampler() as sampler:
            if case == "curvetune":
                timeline = curvetune_run(cells, SHORT, storage, screen=True)
            else:
                timeline = plain_run(len(cells), options.cpus, SHORT, storage)
        yield row(case, timeline, needed_s, sampler.seconds() / timeline.wall_s)


def long_run(options: argparse.Namespace, folder: Path, *, screen: bool) -> dict[str, object]:
    """Return the row of 4 cells that run at once for long: what the driver needs meanwhile."""
    half = round(options.seconds / EPOCH_S / 2)
    pace = Pace(EPOCH_S, half, half)
    storage = folder / f"long-{screen}"
    storage.mkdir()
    cluster = fake_cluster(options.cpus, preload=options.preload)
    with cluster, Sampler(threads=options.threads) as sampler:
        timeline = curvetune_run(pace.cells(GPUS, 1), pace, storage, screen=screen)
    began, ended = window(timeline.trials, SETTLED_S)
    if options.threads:
        print_threads(sampler, began, ended)
    case = f"4 trials, {'live table' if screen else 'plain lines'}"
    needed_s = GPUS * (pace.probe_s + pace.allocate_s)
    return row(case, timeline, needed_s, sampler.share(began, ended))


def print_threads(sampler: Sampler, began: float, ended: float) -> None:
    for name, share in sampler.by_thread(began, ended):
        print(f"  {name:24} {100 * share:5.2f} %")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(*[key.replace("_", " ") for key in rows[0] if key != "benchmark"])
    for values in rows:
        table.add_row(*[str(value) for key, value in values.items() if key != "benchmark"])
    Console(width=140).print(table)


def main() -> None:
    """Measure, print the table and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--probes", type=int, default=10)
    add("--readers", type=int, default=4, help="cells that read one probe")
    add("--cpus", type=int, default=2, help="that Ray is told of")
    add("--seconds", type=float, default=60.0, help="of the long run; 0 leaves it out")
    add("--cases", nargs="*", default=["curvetune", "plain"], choices=["curvetune", "plain"])
    add("--preload", action="store_true", help="Ray's first workers import before the clock")
    add("--threads", action="store_true", help="print the driver's CPU of each thread")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        rows = list(short_runs(options, Path(temporary)))
        if options.seconds:
            rows += [long_run(options, Path(temporary), screen=screen) for screen in (True, False)]
    print_table(rows)
    append(rows)


if __name__ == "__main__":
    main()
