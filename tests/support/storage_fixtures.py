"""A storage as a grid would leave it, without any training: real configs, made-up numbers.

Times are Unix seconds from `START` on, so that what is derived from them can be told by hand.
"""

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curvetune.config import CellConfig
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import write_json
from curvetune.store.history import read_rows, write_rows

DIGEST = "d" * 64
START = 1_700_000_000.0
EPOCHS = 4  # of the probe and of the final training
SECONDS = 2.0  # of an epoch
COMMAND = "curvetune grid small"


def make_cells(
    methods: Sequence[Mapping[str, Any]] = ({"name": "cross-entropy"}, {"name": "curvenet"}),
    imbalances: Sequence[float] = (1, 10),
    noise_rates: Sequence[float] = (0.0, 0.4),
    seeds: Sequence[int] = (0, 1),
    **sections: Any,
) -> list[CellConfig]:
    """Return the cells of a small grid, methods last."""
    short = {"epochs": EPOCHS}
    base: dict[str, Any] = {
        "model": {"name": "resnet8"},
        "probe": short | {"cyclic_start": 2, "half_period": 1},
        "allocate": short | {"warmup": 0, "milestones": [2]},
    }
    points = itertools.product(imbalances, noise_rates, seeds, methods)
    return [
        CellConfig.model_validate(
            base
            | sections
            | {
                "bias": {"imbalance": imbalance, "noise": "uniform_prop", "noise_rate": rate},
                "seed": seed,
                "method": {"removed_losses": 1, **method}
                if method["name"] == "curvenet"
                else dict(method),
            }
        )
        for imbalance, rate, seed, method in points
    ]


def write_grid(root: Path, cells: Sequence[CellConfig], name: str = "small") -> None:
    """Record the grid."""
    entries = [
        {
            "cell_id": cell.cell_id(DIGEST),
            "probe_id": cell.probe_id(DIGEST),
            "config": cell.model_dump(mode="json"),
        }
        for cell in cells
    ]
    grid = {"command": COMMAND, "data_digest": DIGEST, "cells": entries}
    CellStore(root).write_grid(name, grid)


def begin(root: Path, cell: CellConfig) -> Path:
    """Write what a cell writes first; return its folder."""
    folder = CellStore(root).folder(cell.cell_id(DIGEST))
    write_json(folder / "config.json", cell.model_dump(mode="json") | {"data_digest": DIGEST})
    return folder


def row(epoch: int, start: float, **numbers: float) -> dict[str, Any]:
    """Return the row of an epoch that ended `epoch + 1` epochs after `start`."""
    end = start + (epoch + 1) * SECONDS
    return {"epoch": epoch, "time": end, "seconds": SECONDS, "lr": 0.1, **numbers}


def add_epochs(
    root: Path, cell: CellConfig, count: int, *, accuracy: float = 50.0, start: float = START
) -> None:
    """Let the final training of a cell go on for `count` epochs; `accuracy` is that of the last."""
    folder = begin(root, cell)
    rows = read_rows(folder / "history.jsonl")
    for epoch in range(len(rows), len(rows) + count):
        numbers = {"loss": 2.0 / (epoch + 1), "accuracy": accuracy}
        if cell.method.needs_probe:
            numbers["weight_gap"] = 0.1 * epoch
        rows.append(row(epoch, start, **numbers))
    write_rows(folder / "history.jsonl", rows)


def add_probe_epochs(root: Path, cell: CellConfig, count: int, *, start: float = START) -> None:
    """Let the probe of a cell go on for `count` epochs."""
    path = CurveStore(root).folder(_probe_id(cell)) / "history.jsonl"
    begin(root, cell)
    rows = read_rows(path)
    rows += [row(k, start, loss=2.0 - 0.1 * k) for k in range(len(rows), len(rows) + count)]
    write_rows(path, rows)


def store_probe(root: Path, cell: CellConfig) -> None:
    """Publish the curves of a cell's probe."""
    probe_id = _probe_id(cell)
    curves = np.ones((8, cell.probe.epochs), dtype=np.float32)
    identity = cell.probe_identity(DIGEST)
    CurveStore(root).write(probe_id, curves, {"identity": identity, "seconds": EPOCHS * SECONDS})


def finish(
    root: Path, cell: CellConfig, accuracy: float, *, start: float = START, **result: Any
) -> None:
    """Bring a cell to its end; of the three accuracies, best is 1 more and last10 1 less."""
    probe_seconds = 0.0
    if cell.method.needs_probe and not CurveStore(root).has(_probe_id(cell)):
        path = CurveStore(root).folder(_probe_id(cell)) / "history.jsonl"
        add_probe_epochs(root, cell, EPOCHS - len(read_rows(path)), start=start)
        store_probe(root, cell)
        probe_seconds = EPOCHS * SECONDS
        start += probe_seconds
    folder = begin(root, cell)
    left = EPOCHS - len(read_rows(folder / "history.jsonl"))
    add_epochs(root, cell, left, accuracy=accuracy, start=start)
    for name in ("model.safetensors", "samples.safetensors"):
        (folder / name).write_bytes(b"")
    content = {
        "probe_id": cell.probe_id(DIGEST),
        "accuracy": accuracy,
        "accuracy_best": accuracy + 1,
        "accuracy_last10": accuracy - 1,
        "per_class_accuracy": [accuracy, accuracy],
        "weight_gap": 0.3 if cell.method.needs_probe else None,
        "seconds": {"probe": probe_seconds, "allocate": EPOCHS * SECONDS},
        "device": "cpu",
        "versions": {"torch": "2.11"},
        "commit": "c" * 40,
        "finished": start + EPOCHS * SECONDS,
    }
    CellStore(root).publish(cell.cell_id(DIGEST), content | result)


def fail(root: Path, cell: CellConfig, error: str = "RuntimeError: no luck") -> None:
    """Let a cell begin and fail."""
    folder = begin(root, cell)
    CellStore(root).fail(cell.cell_id(DIGEST), error, f"Traceback\n{error}")
    shift(folder / "FAILED.json", 1)


def shift(path: Path, seconds: float) -> None:
    """Make a file look as if it had been written `seconds` from now."""
    when = time.time() + seconds
    os.utime(path, (when, when))


def _probe_id(cell: CellConfig) -> str:
    probe_id = cell.probe_id(DIGEST)
    assert probe_id is not None
    return probe_id
