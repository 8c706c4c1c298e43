"""Times the steps of a grid's methods on what its trials run on: `ablate skip-layers`.

    step_times/<grid>.json    of the newest command for that grid

After the trials, as one Ray task with what a trial gets, so nothing else of the grid disturbs it.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from curvetune.config import CellConfig, WeightNetConfig
from curvetune.data.source import Dataset
from curvetune.planning.plan import Plan
from curvetune.planning.resources import LaunchOptions, Slots, fit_slots
from curvetune.store.files import write_json
from curvetune.store.names import step_times_file
from curvetune.training.engine import prepare
from curvetune.training.provenance import provenance
from curvetune.training.step_time import BUDGET_S, time_steps
from curvetune.tune.cluster import connected, nodes
from curvetune.tune.trainable import pick_device, task_reason
from curvetune.tune.worker import Sent, opened, sent

SCHEMA_VERSION = 1

logger = logging.getLogger(__name__)


def measure_step_times(
    plan: Plan,
    dataset: Dataset,
    storage: Path,
    options: LaunchOptions,
    *,
    budget_s: float = BUDGET_S,
) -> None:
    """Time a step of each method of `plan` that learns weights, and keep it in the storage.

    A failure costs the times, not the grid; it is logged.

    Raises:
        BackendError: Ray cannot be reached.
        StorageError: the storage cannot be written.
    """
    cells = cells_to_time(plan)
    if not cells:
        return
    with connected(options.address):
        slots = fit_slots(nodes(), options)
        share: dict[str, Any] = {"num_cpus": slots.cpus, "num_gpus": 1 if slots.gpus else 0}
        task = ray.remote(max_calls=1, max_retries=0, **share)(_times)
        try:
            found: dict[str, Any] = ray.get(
                task.remote([sent(cell) for cell in cells], dataset, slots, budget_s)
            )
        except RayError as error:
            logger.warning("the steps could not be timed: %s", task_reason(error))
            return
    content = {"schema_version": SCHEMA_VERSION, "grid": plan.name, **found}
    write_json(step_times_file(storage, plan.name), content)


def cells_to_time(plan: Plan) -> list[CellConfig]:
    """Return one cell of each method, model and batch size that learns sample weights."""
    kinds: dict[str, CellConfig] = {}
    for cell in plan.cells:
        config = cell.config
        if isinstance(config.method, WeightNetConfig):
            kind = [config.method, config.model, config.allocate.batch_size]
            kinds.setdefault(repr(kind), config)
    return list(kinds.values())


def _times(
    cells: list[CellConfig | Sent], dataset: Dataset, slots: Slots, budget_s: float
) -> dict[str, Any]:
    """Return the times, and what they were measured on. Runs in a Ray task."""
    device = pick_device()
    torch.set_num_threads(max(1, int(slots.cpus)))
    prepare(device)
    return {
        "threads": torch.get_num_threads(),
        **provenance(device),
        "steps": [
            {
                "method": cell.method.model_dump(mode="json"),
                "model": cell.model.name,
                "batch_size": cell.allocate.batch_size,
                **asdict(time_steps(cell, dataset, device, budget_s=budget_s)),
            }
            for cell in map(opened, cells)
        ],
    }
