"""Trials of Ray Tune whose cells pause: they have ended well, and their cells go on later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_launch import DIGEST, model_arrays, plan_for

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import AllocateConfig, CellConfig, DataConfig, ModelConfig
from curvetune.store import CellStore
from curvetune.store.names import PAUSED
from curvetune.tune.launch import launch

pytestmark = pytest.mark.ray


def test_a_launch_ends_well_where_its_cells_pause_and_they_go_on_from_there(tmp_path: Path) -> None:
    cells = [
        CellConfig(
            data=DataConfig(train_limit=100, test_limit=50),
            model=ModelConfig(name="resnet8"),
            allocate=AllocateConfig(epochs=4, milestones=(2,), warmup=1),
            seed=seed,
        )
        for seed in range(3)
    ]
    digits, store, cpu = data.load("digits"), CellStore(tmp_path), torch.device("cpu")
    ids = [cell.cell_id(DIGEST) for cell in cells]
    plan = replace(plan_for(tmp_path, cells), until={ids[0]: 1, ids[1]: 3})
    assert launch(plan, digits, tmp_path)
    assert [len(store.history(cell_id)) for cell_id in ids] == [1, 3, 4]
    assert [(store.folder(cell_id) / PAUSED).exists() for cell_id in ids] == [True, True, False]
    assert [store.failure(cell_id) for cell_id in ids] == [None] * 3
    assert all(plan.has_come(cell_id, store) for cell_id in ids)
    assert store.result(ids[2]) is not None

    seen: list[int] = []
    straight = tmp_path / "straight"
    run_cell(
        cells[1], DIGEST, digits, tmp_path, device=cpu, on_event=lambda e: seen.append(e["epoch"])
    )
    run_cell(cells[1], DIGEST, digits, straight, device=cpu)
    assert seen == [3]
    weights, expected = (model_arrays(root, cells[1]) for root in (tmp_path, straight))
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
