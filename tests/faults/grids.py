"""A small real grid, its command line, and what is compared between two storages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from forked import Forked

SPACE = """
base:
  data: {name: digits, train_limit: 120, test_limit: 100}
  bias: {noise: symmetric}
  model: {name: resnet8}
  probe: {epochs: 4, cyclic_start: 2, half_period: 1, batch_size: 60, cyclic_batch_size: 60}
  allocate: {epochs: 4, batch_size: 60, milestones: [2], warmup: 1}
grid:
  noise_rate: [0.0, 0.4]
  seed: [0, 1, 2]
  method:
    - {name: cross-entropy}
    - {name: curvenet, meta_batch_size: 32, removed_losses: 1}
"""
CELLS, PROBES = 12, 6
TIMES = ("time", "seconds")
EPOCHS = 4  # of the probe and of the final training


def write_space(folder: Path, text: str = SPACE) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def command(space: Path, storage: Path, *options: str, slots: int = 2) -> list[str]:
    """Return the arguments of `curvetune` that run the grid."""
    fixed = ["--checkpoint-every", "2", "--json", "--max-concurrent", str(slots)]
    return ["grid", str(space), "--storage", str(storage), *fixed, *options]


def start(
    space: Path,
    storage: Path,
    *options: str,
    slots: int = 2,
    env: dict[str, str] | None = None,
) -> "subprocess.Popen[str]":
    """Start `curvetune grid` in a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "from curvetune.cli import main; main()"),
            *command(space, storage, *options, slots=slots),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        start_new_session=True,
    )


def fork(space: Path, storage: Path, *options: str, slots: int = 1) -> Forked:
    """Start `curvetune grid` as `start` does, but without waiting for its imports."""
    output = storage.with_name(f"{storage.name}-{time.monotonic_ns()}.txt")
    return Forked(command(space, storage, *options, slots=slots), output)


def run(space: Path, storage: Path, *options: str) -> tuple[int | None, str]:
    """Run a grid to its end; return its exit code and what it printed."""
    process = fork(space, storage, *options)
    output = process.communicate(timeout=240)
    return process.returncode, output


def kill_tree(pid: int) -> int:
    """Kill a process and all that came of it with SIGKILL; return how many there were."""
    victims = [pid, *descendants(pid)]
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(victims)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and theirs."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def contents(storage: Path) -> dict[str, Any]:
    """Return what a grid's results are, without times: whole files, and rows of histories."""
    found: dict[str, Any] = {}
    for path in sorted(storage.glob("*/*/*")):
        name = str(path.relative_to(storage))
        if path.name in ("curves.npy", "model.safetensors", "samples.safetensors", "config.json"):
            found[name] = path.read_bytes()
        elif path.name == "history.jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        elif path.name == "DONE.json":
            done = json.loads(path.read_text(encoding="utf-8"))
            found[name] = [done[key] for key in ("accuracy", "accuracy_best", "accuracy_last10")]
    return found


def token(folder: Path) -> int:
    """Return how often a cell or probe was begun: each beginning takes the next token."""
    tokens = (int(path.stem.partition("-")[2]) for path in folder.glob("lease-*.json"))
    return max(tokens, default=0)


def starts(storage: Path, kind: str = "cells") -> int:
    """Return how often cells (or probes) were begun, in all."""
    return sum(token(folder) for folder in (storage / kind).iterdir())


def results(storage: Path) -> list[Path]:
    return sorted((storage / "cells").glob("*/DONE.json"))


def tracked(storage: Path) -> tuple[int, int]:
    """Return how many runs of cells MLflow's database has, and how many cells they are of."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()], max_results=1000
    )
    tags = [run.data.tags.get("curvetune.cell_id") for run in runs]
    cells = [tag for tag in tags if tag is not None]
    return len(cells), len(set(cells))
