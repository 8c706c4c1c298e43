"""How what curvetune does itself grows with the cells of a grid: 100, 1,000 and 10,000 of them.

Claim: nothing grows faster than linearly. The storage is made up as for resume.py. Each command is
run in a process of its own. Its processor time counts, since other work on a machine does not count
there, and its peak of memory. The exponent is that of what grows: with costs a, b, c of n1, n2, n3
cells it is log((c - a) / (b - a)) / log((n3 - n1) / (n2 - n1)), so that what any command costs, its
imports for instance, does not hide it. 1 is linear.

    python -m benchmarks.grids.growth                      all sizes; an hour, most of it MLflow's
    python -m benchmarks.grids.growth --sizes 120,1000
    python -m benchmarks.grids.growth --without-sync       ten minutes, without `grid`
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.grids.resume import CASES, PER_SEED, SPACE, fill
from benchmarks.timing import append
from curvetune import data
from curvetune.planning.space import load_space

SIZES = (120, 1000, 10_000)
COMMANDS = {
    "plan, nothing done": ("plan", "--storage", "{empty}"),
    "plan, all done": ("plan", "--storage", "{full}"),
    "status": ("status", "--storage", "{full}"),
    "report": ("report", "--storage", "{full}"),
    "report, significance of all": (
        *("report", "--storage", "{full}", "--table", "significance", "--against", "all"),
    ),
    "grid, all done": ("grid", "--storage", "{full}"),
}
PEAK = "VmHWM:"
# ru_maxrss of a child is at least what its parent had when it was made; this is of itself alone.
CODE = f"""
import atexit, pathlib, sys

def tell():
    text = pathlib.Path("/proc/self/status").read_text()
    sys.stderr.write(text[text.index("{PEAK}"):])

atexit.register(tell)
from curvetune.cli import main
main()
"""
SYNC = "grid and sync, all new to MLflow"


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(words: Sequence[str]) -> Cost:
    """Run a command to its end."""
    left_out = "PYTHONDONTWRITEBYTECODE"  # our modules are compiled already, as installed ones are
    env = {key: value for key, value in os.environ.items() if key != left_out}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    line = [sys.executable, "-c", CODE, *words]
    began = time.perf_counter()
    process = subprocess.Popen(
        line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{said}")
    took = time.perf_counter() - began
    peak = int(said.rpartition(PEAK)[2].split()[0]) / 1024
    return Cost(took, usage.ru_utime + usage.ru_stime, peak)


def made_up(folder: Path, size: int) -> Path:
    """Make a storage in which a grid of `size` cells is done; return the space."""
    seeds = ", ".join(map(str, range(size // PER_SEED)))
    space = folder / "space.yaml"
    folder.mkdir(parents=True)
    space.write_text(SPACE.format(model=CASES[0].model, epochs=CASES[0].epochs, seeds=seeds))
    fill(folder / "full", load_space(str(space)).cells, data.digest("digits", None), CASES[0])
    return space


def synced(space: Path, storage: Path, *, whole: bool) -> Cost:
    """Let MLflow hear of a grid; an end of a grid waits a minute at most for it.

    Args:
        whole: wait until it has heard of all.
    """
    where = ("--storage", str(storage))
    both = [run(["grid", str(space), *where])]
    if whole:
        both.append(run(["sync", "space", *where]))
    wall, cpu = (sum(getattr(one, key) for one in both) for key in ("wall_s", "cpu_s"))
    return Cost(wall, cpu, max(one.peak_mb for one in both))


def costs(folder: Path, space: Path, repeats: int, *, with_sync: bool) -> dict[str, list[Cost]]:
    """Return what each command cost, `repeats` times; MLflow's, which takes long, once."""
    places = {"empty": folder / "empty", "full": folder / "full"}
    first = synced(space, places["full"], whole=with_sync)  # it also makes the grid's record
    found = {SYNC: [first]} if with_sync else {}
    for name, (command, *options) in COMMANDS.items():
        if command == "grid" and not with_sync:
            continue  # it would wait a minute for MLflow, which has not heard of all
        what = str(space) if command in ("plan", "grid") else "space"
        words = [command, what, *(option.format(**places) for option in options)]
        found[name] = [run(words) for _ in range(repeats)]
    return found


def size_of(folder: Path) -> tuple[int, float]:
    """Return how many files a folder has, and their megabytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) / 1e6


def exponent(numbers: Sequence[int], values: Sequence[float]) -> float | None:
    """Return the exponent of what grows, of three sizes; None where nothing does."""
    (n1, n2, n3), (a, b, c) = numbers, values
    if min(b - a, c - a) <= 0:
        return None
    return math.log((c - a) / (b - a)) / math.log((n3 - n1) / (n2 - n1))


def main() -> None:
    """Measure, print and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help=f"of {PER_SEED}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-sync", action="store_true", help="minutes instead of an hour")
    parser.add_argument("--dry", action="store_true", help="append nothing to the results")
    options = parser.parse_args()
    sizes = [int(text) for text in options.sizes.split(",")]
    seen: dict[str, list[tuple[int, float, float, float, int]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / str(size)
            space = made_up(folder, size)
            files, megabytes = size_of(folder / "full")
            seen.setdefault("storage", []).append((size, 0.0, float(files), megabytes, 1))
            print(f"{size} cells: {files} files, {megabytes:.1f} MB", flush=True)
            took_by_name = costs(folder, space, options.repeats, with_sync=not options.without_sync)
            for name, took in took_by_name.items():
                wall, cpu, peak = (
                    statistics.median(getattr(one, key) for one in took)
                    for key in ("wall_s", "cpu_s", "peak_mb")
                )
                seen.setdefault(name, []).append((size, wall, cpu, peak, len(took)))
                print(f"{size} cells: {name}: {cpu:.2f} s of CPU, {peak:.0f} MB", flush=True)
            shutil.rmtree(folder)
    rows: list[dict[str, object]] = []
    for name, of_sizes in seen.items():
        grown: list[float | None] = [None, None]
        if len(of_sizes) == 3:
            grown = [exponent(sizes, [one[k] for one in of_sizes]) for k in (2, 3)]
        said = " and ".join("none" if one is None else f"{one:.2f}" for one in grown)
        print(f"{name}: exponents {said}", flush=True)
        unit = ("files", "megabytes") if name == "storage" else ("cpu_s", "peak_mb")
        for size, wall, one, other, n in of_sizes:
            rows.append(
                {
                    "benchmark": "growth",
                    "case": name,
                    "cells": size,
                    "wall_s": f"{wall:.3f}",
                    unit[0]: f"{one:.3f}",
                    unit[1]: f"{other:.1f}",
                    "n": n,
                    "exponent": "" if grown[0] is None else f"{grown[0]:.2f}",
                    "memory_exponent": "" if grown[1] is None else f"{grown[1]:.2f}",
                }
            )
    if not options.dry:
        append(rows)


if __name__ == "__main__":
    main()
