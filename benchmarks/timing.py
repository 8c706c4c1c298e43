"""Ratios of back-to-back pairs, and rows of results/. Used by all benchmarks."""

import csv
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"  # a file for each benchmark
WARM_UP = 2
Step = Callable[[], object]


def seconds(step: Step) -> float:
    """Time one call, waiting for the device before and after."""
    _synchronize()
    start = time.perf_counter()
    step()
    _synchronize()
    return time.perf_counter() - start


def ratios(baseline: Step, candidate: Step, pairs: int) -> list[float]:
    """Return baseline over candidate for each of `pairs` back-to-back pairs, after a warm-up."""
    timed = [seconds(baseline) / seconds(candidate) for _ in range(WARM_UP + pairs)]
    return timed[WARM_UP:]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def append(rows: Sequence[Mapping[str, object]], folder: Path = RESULTS) -> None:
    """Append rows to <benchmark>.csv of `folder`, each with device, threads, versions and commit.

    Args:
        rows: the column `benchmark` of each names its file. A column that an older row of the
            file does not have is empty there.
    """
    common = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }
    for name in dict.fromkeys(str(row["benchmark"]) for row in rows):
        file = folder / f"{name}.csv"
        new = [{**row, **common} for row in rows if row["benchmark"] == name]
        both: list[Mapping[str, object]] = [*_results(file), *new]
        columns = dict.fromkeys(column for row in both for column in row)
        with file.open("w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, list(columns))
            writer.writeheader()
            writer.writerows(both)


def _results(file: Path) -> list[dict[str, str]]:
    """Return the rows of a file of results; none if it is not there."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _cpu() -> str:
    """Return the processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Return the commit that is measured; `-dirty` if more than the results differs from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    others = (":/", f":!{RESULTS.name}")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *others)
    return f"{commit}-dirty" if changed else commit or "unknown"


def _git(*words: str) -> str:
    """Return what git says about this folder; nothing where it cannot."""
    command = ["git", "-C", str(RESULTS.parent), *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip()
