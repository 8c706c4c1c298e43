"""A cell that waits instead of training: what is left of the time is orchestration.

It leaves the files that a real cell leaves, epoch by epoch, so that those who watch the storage
(the live table, MLflow) have as much to do. Used by orchestration.py.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.grids.timeline import WORK
from curvetune.config import CellConfig
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import write_json
from curvetune.store.history import History

SAMPLES = 1000  # N of the curves


@dataclass(frozen=True)
class Pace:
    """How long a cell computes."""

    epoch_s: float
    probe_epochs: int
    allocate_epochs: int

    @property
    def probe_s(self) -> float:
        """Seconds of a probe."""
        return self.epoch_s * self.probe_epochs

    @property
    def allocate_s(self) -> float:
        """Seconds of a final training."""
        return self.epoch_s * self.allocate_epochs

    def cells(self, probes: int, readers: int) -> list[CellConfig]:
        """Return `readers` cells for each of `probes` probes."""
        probe = {"epochs": self.probe_epochs, "cyclic_start": 0, "half_period": 1}
        allocate = {"epochs": self.allocate_epochs, "milestones": [], "warmup": 0}
        sections = {"probe": probe, "allocate": allocate}
        return [
            CellConfig.model_validate(
                {**sections, "seed": seed, "method": {"name": "curvenet", "embedding_dim": 8 + k}}
            )
            for seed in range(probes)
            for k in range(readers)
        ]


class Trial:
    """Keeps when a trial computed, and on which GPU."""

    def __init__(self, storage: Path, name: str) -> None:
        self._path = storage / WORK
        self._row: dict[str, Any] = {
            "trial": name,
            "gpu": next(iter(ray.get_gpu_ids()), None),
            "pid": os.getpid(),
            "began": time.time(),
            "work": [],
        }

    def compute(self, stage: str, seconds: float) -> None:
        """Wait, as the driver's process would for a GPU."""
        start = time.time()
        time.sleep(seconds)
        self._row["work"].append([stage, start, time.time()])

    def end(self) -> None:
        """Write the row."""
        self._row["ended"] = time.time()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._row) + "\n")


def run_cell(
    cell: CellConfig,
    digest: str,
    dataset: Any,
    storage: Path,
    *,
    pace: Pace,
    on_event: Callable[[dict[str, Any]], None],
    read_curves: Callable[[str], Any],
    **named: Any,
) -> dict[str, Any]:
    """Do what `curvetune.cell.run_cell` does, but wait where that trains."""
    trial = Trial(storage, cell.cell_id(digest))
    cells, curves = CellStore(storage), CurveStore(storage)
    cell_id, probe_id = cell.cell_id(digest), cell.probe_id(digest)
    assert probe_id is not None
    folder = cells.folder(cell_id)
    write_json(folder / "config.json", cell.model_dump(mode="json"))
    if not curves.has(probe_id):
        history = curves.folder(probe_id) / "history.jsonl"
        _epochs(trial, "probe", pace, pace.probe_epochs, history, on_event)
        values = np.ones((SAMPLES, pace.probe_epochs), np.float32)
        curves.write(probe_id, values, {"cell_id": cell_id, "seconds": pace.probe_s})
    on_event({"stage": "stored", "probe_id": probe_id})
    read_curves(probe_id)
    history = folder / "history.jsonl"
    rows = _epochs(trial, "allocate", pace, pace.allocate_epochs, history, on_event)
    for name in ("model.safetensors", "samples.safetensors"):
        (folder / name).touch()
    accuracy = dict.fromkeys(("accuracy", "accuracy_last10", "accuracy_best"), 50.0)
    seconds = {"probe": 0.0, "allocate": pace.allocate_s}
    result = {**accuracy, "seconds": seconds, "finished": rows[-1]["time"], "probe_id": probe_id}
    done = cells.publish(cell_id, result)
    trial.end()
    return done


def _epochs(
    trial: Trial,
    stage: str,
    pace: Pace,
    count: int,
    path: Path,
    on_event: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Wait for `count` epochs and write a row of history for each, as the loop does."""
    rows: list[dict[str, Any]] = []
    with History(path, rows) as history:
        for epoch in range(count):
            trial.compute(stage, pace.epoch_s)
            row = {"epoch": epoch, "lr": 0.1, "loss": 1.0 / (epoch + 1), "accuracy": 50.0}
            history.append(row | {"time": time.time(), "seconds": pace.epoch_s})
            on_event({"stage": stage, **row})
    return rows


def plain_trial(config: Mapping[str, Any], *, pace: Pace, storage: Path) -> None:
    """Do the same for a plain Ray Tune run: probe, train, report; nobody shares anything."""
    import torch  # noqa: F401 - as every trial that trains must
    from ray import tune

    trial = Trial(storage, str(config["cell"]))
    for _ in range(pace.probe_epochs):
        trial.compute("probe", pace.epoch_s)
    for _ in range(pace.allocate_epochs):
        trial.compute("allocate", pace.epoch_s)
    tune.report({"accuracy": 50.0})
    trial.end()
