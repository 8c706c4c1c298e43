"""A small grid that was really trained, in seconds: for tests of what is made of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.store import CellStore

GRID = "tiny"
METHODS = ({"name": "curvenet", "removed_losses": 1}, {"name": "cross-entropy"})


def train_grid(
    root: Path,
    *,
    methods: Sequence[dict[str, Any]] = METHODS,
    rates: Sequence[float] = (0.0, 0.4),
    seeds: Sequence[int] = (0,),
) -> list[CellConfig]:
    """Train every method at every noise rate for three epochs; return the cells."""
    digest, dataset = data.digest("digits"), data.load("digits")
    cells = [
        CellConfig.model_validate(
            {
                "data": {"name": "digits", "per_class_limit": 12, "test_limit": 20},
                "bias": {"imbalance": 1, "noise": "symmetric", "noise_rate": rate},
                "model": {"name": "resnet8"},
                "probe": {"epochs": 4, "cyclic_start": 2, "half_period": 1, "batch_size": 32},
                "allocate": {"epochs": 3, "warmup": 0, "milestones": [2], "batch_size": 32},
                "method": method,
                "seed": seed,
            }
        )
        for rate in rates
        for seed in seeds
        for method in methods
    ]
    for cell in cells:
        run_cell(cell, digest, dataset, root, device=torch.device("cpu"))
    entries = [
        {
            "cell_id": cell.cell_id(digest),
            "probe_id": cell.probe_id(digest),
            "config": cell.model_dump(mode="json"),
        }
        for cell in cells
    ]
    grid = {"command": "curvetune grid tiny", "data_digest": digest, "cells": entries}
    CellStore(root).write_grid(GRID, grid)
    return cells
