"""Measures what one cell takes of a GPU, before the trials start: `--gpus-per-trial auto`.

A short run of the plan's heaviest kind of cell, through the same `run_cell` as every trial, as a
Ray task that has a GPU alone. Nothing of it goes into the storage.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.config.profiles import SMOKE_EPOCHS, apply_profile
from curvetune.data.recipe import cropped
from curvetune.data.source import Dataset
from curvetune.planning.gpu_share import (
    CellMeasured,
    cells_per_gpu,
    describe,
    heaviest,
    mps_runs,
    per_gpu,
    share_of,
)
from curvetune.planning.plan import Plan
from curvetune.planning.resources import LaunchOptions
from curvetune.tune.trainable import pick_device, task_reason
from curvetune.tune.worker import Sent, opened, sent

STEPS = 64  # of an epoch of the measured run: enough that its start and end do not count much
PROBE_BYTES, READ_BYTES = 6, 4  # of a sample and epoch: loss and margin in 16 bits; float32

ALONE = "--gpus-per-trial auto: each cell has a GPU alone"

Measure = Callable[[Any, str, Any], CellMeasured | None]

logger = logging.getLogger(__name__)


def measured_options(
    options: LaunchOptions,
    plan: Plan,
    dataset: Any,
    nodes: Sequence[Mapping[str, float]],
    measure: Measure | None = None,
) -> LaunchOptions:
    """Return `options` with the part of a GPU for each trial of `plan`, if that is `auto`.

    What came of it is logged. A measurement that fails costs the packing, not the grid.

    Args:
        nodes: what each node of the cluster has, {"CPU": 8, "GPU": 2}.
        measure: a stand-in for `measure_cell`; it runs in the Ray task.
    """
    there = per_gpu(nodes, options, len(plan.left))
    if options.gpus_per_trial != "auto" or there is None or not plan.left:
        return options
    if there.room <= 1:  # a measurement takes a while and would change nothing
        logger.warning("%s; there are no CPUs or no cells for more", ALONE)
        return replace(options, gpus_per_trial=1.0)
    measured = _measured(plan, dataset, measure or measure_cell)
    if measured is None:
        return replace(options, gpus_per_trial=1.0)
    logger.warning("%s", describe(measured, there))  # a warning, since people are to see it
    return replace(options, gpus_per_trial=share_of(cells_per_gpu(measured, there)))


def _measured(plan: Plan, dataset: Any, measure: Measure) -> CellMeasured | None:
    """Measure the heaviest cell of `plan` in a process with a GPU alone; None if it fails."""
    cell = heaviest([cell.config for cell in plan.left])
    task = ray.remote(num_gpus=1, num_cpus=0, max_calls=1, max_retries=0)(measure)
    try:
        measured: CellMeasured | None = ray.get(task.remote(sent(cell), plan.digest, dataset))
    except RayError as error:
        logger.warning("%s; not measured: %s", ALONE, task_reason(error))
        return None
    if measured is None:
        logger.warning("%s; PyTorch finds none there", ALONE)
    return measured


def measure_cell(cell: CellConfig | Sent, digest: str, dataset: Dataset) -> CellMeasured | None:
    """Return what a cell takes of the GPU that Ray gave this process; None if it gave none."""
    device = pick_device()
    cell = opened(cell)
    return measure_on(device, cell, digest, dataset) if device.type == "cuda" else None


def measure_on(
    device: torch.device, cell: CellConfig, digest: str, dataset: Dataset
) -> CellMeasured:
    """Return what a cell takes of a GPU that nothing else uses.

    Raises:
        RuntimeError: the profiler recorded no kernel.
    """
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.reset_peak_memory_stats(device)
    busy = run_short(cell, digest, dataset, device, KernelTime())
    peak = torch.cuda.max_memory_reserved(device)
    free, total = torch.cuda.mem_get_info(device)
    return CellMeasured(
        peak_bytes=peak + data_bytes(cell, dataset),
        context_bytes=total - free - torch.cuda.memory_reserved(device),
        total_bytes=total,
        busy=busy,
        mps=mps_runs(),
    )


def run_short(
    cell: CellConfig, digest: str, dataset: Dataset, device: torch.device, meter: "KernelTime"
) -> float:
    """Run a short form of a cell; return the share of the time in which `meter` saw kernels run.

    It looks at the second epoch of the final training: warm-up and capture are over, and methods
    that learn weights still do.
    """
    shares: list[float] = []

    def on_event(event: Mapping[str, Any]) -> None:
        if event["stage"] == "allocate" and event["epoch"] == 0:
            meter.start()
        if event["stage"] == "allocate" and event["epoch"] == 1:
            shares.append(meter.stop())

    with tempfile.TemporaryDirectory() as storage:
        run_cell(short_cell(cell), digest, dataset, Path(storage), device=device, on_event=on_event)
    return shares[0]


def short_cell(cell: CellConfig) -> CellConfig:
    """Return a cell of the same kind: 3 + 3 epochs of `STEPS` steps, the last at a lower rate."""
    short = apply_profile(cell, "smoke")
    samples = STEPS * cell.allocate.batch_size
    limit = {"train_limit": min(samples, cell.data.train_limit or samples)}
    stages = {"warmup": 0, "milestones": (SMOKE_EPOCHS - 1,), "gamma": 0.1}
    sections = {
        "data": short.data.model_copy(update=limit),
        "allocate": short.allocate.model_copy(update=stages),
    }
    return CellConfig.model_validate(short.model_copy(update=sections).model_dump())


def data_bytes(cell: CellConfig, dataset: Dataset) -> int:
    """Return what the whole data and the curves of a whole probe take on the device, at most."""
    dataset = cropped(dataset, cell.data.crop_size)
    channels, height, width = dataset.train.x.shape[1:]
    image: int = channels * (height + 2 * dataset.pad) * (width + 2 * dataset.pad)
    recipe = cell.probe_recipe
    recorded = 0
    if recipe is not None:  # what the probe records and the method reads, and an epoch's logits
        read = READ_BYTES * (1 + cell.method.reads_margins)
        recorded = (PROBE_BYTES + read) * recipe.epochs + 4 * dataset.num_classes
    return image * (len(dataset.train) + len(dataset.test)) + recorded * len(dataset.train)


class KernelTime:
    """Measures in which share of a time kernels run on the GPU, from the profiler's record.

    The profiler and CUDA graphs do not always get on (pytorch #75504, #100441): attached to a
    process that replays graphs it may crash, or see no kernel. So it is attached once, in a process
    that ends afterwards, and no kernel at all is an error, not idleness.
    """

    def start(self) -> None:
        """Begin."""
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self._profiler.start()
        self._started = time.perf_counter()

    def stop(self) -> float:
        """End, and return the share, above 0 and up to 1.

        Raises:
            RuntimeError: no kernel was recorded.
        """
        torch.cuda.synchronize()
        seconds = time.perf_counter() - self._started
        self._profiler.stop()
        spans = [
            (event.time_range.start, event.time_range.end)  # microseconds
            for event in self._profiler.events() or ()  # type: ignore[no-untyped-call]
            if event.device_type.name == "CUDA" and not event.is_user_annotation
        ]
        if not spans:
            raise RuntimeError("the profiler recorded no kernel")
        return min(1.0, covered(spans) / 1e6 / seconds)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
