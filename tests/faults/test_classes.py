"""F2, F3, F13: what happens to one cell is named, and the others never notice."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_cell
import grids
import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle
from ray.cluster_utils import Cluster

from curvetune import data
from curvetune.config import CellConfig
from curvetune.planning.plan import Plan, build_plan
from curvetune.planning.resources import LaunchOptions
from curvetune.planning.space import Space
from curvetune.store import CellStore, CurveStore
from curvetune.tune.launch import launch

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.slow]
for module in (fake_cell, grids, sys.modules[__name__]):  # which workers cannot import
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]

DIGEST = "d" * 64
DATASET = np.ones(10)


def plan_for(storage: Path, cells: list[CellConfig], digest: str = DIGEST) -> Plan:
    return build_plan(
        Space("faults", tuple(cells)),
        digest,
        is_done=lambda cell_id: CellStore(storage).result(cell_id) is not None,
        has_probe=CurveStore(storage).has,
    )


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A cluster without CPUs at its head, so that every trial runs on a node that can be lost."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_f3_the_cells_of_a_lost_node_move_and_the_others_never_notice(
    nodes: Cluster, tmp_path: Path
) -> None:
    lost, kept = (nodes.add_node(num_cpus=1, resources={name: 1}) for name in ("a", "b"))
    assert kept is not None
    ray.init(address=nodes.address, log_to_driver=False, logging_level="CRITICAL")
    cells = [CellConfig(seed=seed) for seed in range(6)]
    words = {cells[0].cell_id(DIGEST): "die-with-node"}
    (tmp_path / "behave.json").write_text(json.dumps(words))

    complete: list[bool] = []

    def run() -> None:
        plan = plan_for(tmp_path, cells)
        complete.append(launch(plan, DATASET, tmp_path, run_cell=fake_cell.run_cell))

    runner = threading.Thread(target=run)  # nodes are started and stopped in the main thread
    runner.start()
    mark = tmp_path / f"node-of-{cells[0].cell_id(DIGEST)}"
    while not mark.exists():
        time.sleep(0.05)
    nodes.remove_node({n.node_id: n for n in (lost, kept)}[mark.read_text()], allow_graceful=False)
    nodes.add_node(num_cpus=1)
    runner.join()
    assert complete == [True]
    done = [row["cell_id"] for row in fake_cell.rows(tmp_path)]
    assert sorted(done) == sorted(cell.cell_id(DIGEST) for cell in cells)  # each once
    tokens = {
        cell.seed: grids.token(CellStore(tmp_path).folder(cell.cell_id(DIGEST))) for cell in cells
    }
    assert tokens == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def trouble(
    cell: CellConfig, *positional: Any, on_event: Callable[[dict[str, Any]], None], **named: Any
) -> dict[str, Any]:
    """Run a real cell, but have seed 0 run out of memory and seed 1 hang."""
    from curvetune import cell as real

    def hear(event: dict[str, Any]) -> None:
        if cell.seed == 0 and event["stage"] == "allocate":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if cell.seed == 1 and event["stage"] == "allocate":
            time.sleep(600)
        on_event(event)

    return real.run_cell(cell, *positional, on_event=hear, **named)


def test_f13_one_cell_of_eight_runs_out_of_memory_one_hangs_one_diverges_and_five_finish(
    address: str, tmp_path: Path
) -> None:
    ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    try:
        cells = [_cell(seed, lr=1e30 if seed == 2 else 0.1) for seed in range(8)]
        digest = data.digest("digits")
        complete = launch(
            plan_for(tmp_path, cells, digest),
            data.load("digits"),
            tmp_path,
            LaunchOptions(hang_after_s=15.0),
            run_cell=trouble,
        )
    finally:
        ray.shutdown()
    assert complete
    store = CellStore(tmp_path)
    failures = [store.failure(cell.cell_id(digest)) for cell in cells]
    assert [f and f["kind"] for f in failures] == ["oom", "hang", "diverged", *[None] * 5]
    assert failures[2] is not None
    assert "of epoch 0 is nan, first not finite in batch" in failures[2]["error"]
    assert all(store.result(cell.cell_id(digest)) is not None for cell in cells[3:])


def _cell(seed: int, lr: float) -> CellConfig:
    return CellConfig.model_validate(
        {
            "data": {"name": "digits", "train_limit": 100, "test_limit": 50},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 2, "batch_size": 25, "milestones": [1], "warmup": 0, "lr": lr},
            "seed": seed,
        }
    )


def test_f13_a_grid_with_a_cell_that_failed_exits_with_3_and_names_it(
    address: str, tmp_path: Path
) -> None:
    text = grids.SPACE.replace(
        "seed: [0, 1, 2]", "seed: [0]\n  allocate.lr: [0.1, 1.0e+30]"
    ).replace("    - {name: curvenet, meta_batch_size: 32, removed_losses: 1}\n", "")
    space = grids.write_space(tmp_path, text)
    storage = tmp_path / "storage"
    code, output = grids.run(space, storage, "--address", address)
    assert code == 3, output
    assert "2 of 4 cells failed" in output
    assert "DivergedError" in output
    assert len(grids.results(storage)) == 2


@pytest.mark.parametrize("stage", ["probe", "allocate"])
def test_f2_a_trial_killed_in_a_stage_loses_at_most_one_checkpoint_interval(
    address: str, tmp_path: Path, stage: str
) -> None:
    cell = CellConfig.model_validate(
        {
            "data": {"name": "digits", "train_limit": 100, "test_limit": 50},
            "model": {"name": "resnet8"},
            "probe": {"epochs": 8, "cyclic_start": 4, "half_period": 2, "batch_size": 25},
            "allocate": {"epochs": 8, "batch_size": 25, "milestones": [4], "warmup": 0},
            "method": {"name": "curvenet", "meta_batch_size": 20, "removed_losses": 1},
        }
    )
    digest = data.digest("digits")
    (tmp_path / "stage.txt").write_text(stage)
    ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    try:
        plan, options = plan_for(tmp_path, [cell], digest), LaunchOptions(checkpoint_every=3)
        assert launch(plan, data.load("digits"), tmp_path, options, run_cell=killed_once)
    finally:
        ray.shutdown()
    lines = [line.split() for line in (tmp_path / "epochs.txt").read_text().splitlines()]
    epochs = {name: [int(e) for s, e in lines if s == name] for name in ("probe", "allocate")}
    other = {"probe": "allocate", "allocate": "probe"}[stage]
    assert epochs[stage] == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]  # killed in epoch 4; 3 was kept
    assert epochs[other] == list(range(8))


def killed_once(
    cell: CellConfig, *positional: Any, on_event: Callable[[dict[str, Any]], None], **named: Any
) -> dict[str, Any]:
    """Run a real cell; kill its process at the end of epoch 4 of a stage, once."""
    from curvetune import cell as real

    storage = positional[-1]
    stage = (storage / "stage.txt").read_text()

    def hear(event: dict[str, Any]) -> None:
        if event["stage"] != "stored":
            with (storage / "epochs.txt").open("a") as file:
                file.write(f"{event['stage']} {event['epoch']}\n")
        if (event["stage"], event.get("epoch")) == (stage, 4) and not (storage / "once").exists():
            (storage / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        on_event(event)

    return real.run_cell(cell, *positional, on_event=hear, **named)
