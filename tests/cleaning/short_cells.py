"""A grid of one method that was trained for an epoch, on any data."""

from pathlib import Path
from typing import Any

import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.store import CellStore

EPOCH = {"epochs": 1, "warmup": 0, "milestones": [], "batch_size": 8}


def train_on(
    root: Path,
    data_dir: Path | None,
    name: str,
    *,
    seeds: tuple[int, ...] = (0,),
    bias: dict[str, Any] | None = None,
) -> str:
    """Train cross entropy on a data set as it is, or biased; return the name of the grid."""
    source = data.find_source(name)
    digest, dataset = source.digest(data_dir), source.load(data_dir)
    given = bias or {"imbalance": 1, "noise": "real", "noise_rate": 0}
    cells = [
        CellConfig.model_validate(
            {
                "data": {"name": name, "meta_per_class": 0},
                "bias": given,
                "model": {"name": "resnet8"},
                "allocate": EPOCH,
                "method": {"name": "cross-entropy"},
                "seed": seed,
            }
        )
        for seed in seeds
    ]
    for cell in cells:
        run_cell(cell, digest, dataset, root, device=torch.device("cpu"))
    entries = [
        {"cell_id": c.cell_id(digest), "probe_id": None, "config": c.model_dump(mode="json")}
        for c in cells
    ]
    CellStore(root).write_grid(name, {"command": "…", "data_digest": digest, "cells": entries})
    return f"{name}/cross-entropy"
