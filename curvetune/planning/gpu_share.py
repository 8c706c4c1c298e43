"""How many cells share a GPU: decided from what one of them took of it. Knows nothing of Ray.

Processes on one GPU take turns, unless an MPS daemon lets their kernels run side by side. So cells
are added only until their kernels fill the time, and a cell that fills it alone stays alone.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curvetune.config import CellConfig
from curvetune.config.networks import MODEL_NAMES
from curvetune.planning.resources import LaunchOptions

MOST = 8  # cells on one GPU; docs/measurements.md: not measured
MEMORY_SHARE = 0.9  # of a GPU that cells may fill: other cells of the grid may take a little more
FULL = 0.85  # share of the time in which kernels run that leaves nothing for another cell
RAY_UNITS = 10_000  # Ray counts in parts of 1/10,000 of a GPU
GIB = 1 << 30
MPS_PIPE_DIRECTORY = "/tmp/nvidia-mps"  # where the daemon listens unless told otherwise


@dataclass(frozen=True)
class CellMeasured:
    """What one cell took of a GPU that it had alone.

    Args:
        peak_bytes: the most that PyTorch held at once, the whole data included.
        context_bytes: what else a process holds: the CUDA context and the libraries' own memory.
        total_bytes: of the GPU.
        busy: share of the time in which a kernel ran, 0 to 1.
        mps: whether an MPS daemon runs on its machine.
    """

    peak_bytes: int
    context_bytes: int
    total_bytes: int
    busy: float
    mps: bool = False


@dataclass(frozen=True)
class PerGpu:
    """What there is for each GPU of a cluster.

    Args:
        cpus: trials that its share of the CPUs suffices for; each needs one to launch kernels.
        cells: those to be run at once. With more room than that, Ray would put them all on some
            of the GPUs and leave the others idle.
    """

    cpus: float
    cells: float

    @property
    def room(self) -> int:
        """How many cells are to share a GPU at most, whatever they take of it."""
        return min(math.floor(self.cpus), math.ceil(self.cells))


def per_gpu(
    nodes: Sequence[Mapping[str, float]], options: LaunchOptions, cells: int
) -> PerGpu | None:
    """Return what there is for each GPU on `nodes` ({"CPU": 8, "GPU": 2}, …); None without a GPU.

    Args:
        cells: to be run in all.
    """
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if not with_gpu:
        return None
    cpus = min(node.get("CPU", 0) / node["GPU"] for node in with_gpu)
    at_once = min(cells, options.max_concurrent or cells)
    gpus = sum(node["GPU"] for node in with_gpu)
    return PerGpu(cpus / (options.cpus_per_trial or 1.0), at_once / gpus)


def cells_per_gpu(measured: CellMeasured, there: PerGpu) -> int:
    """Return how many cells share a GPU, at least 1 and at most `MOST`."""
    return max(1, min(_limits(measured, there).values()))


def share_of(cells: int) -> float:
    """Return the part of a GPU to ask Ray for, such that `cells` of them fit on it."""
    return math.floor(RAY_UNITS / cells) / RAY_UNITS


def describe(measured: CellMeasured, there: PerGpu) -> str:
    """Return one line that says what was measured and decided."""
    cells = cells_per_gpu(measured, there)
    reasons = [name for name, limit in _limits(measured, there).items() if max(1, limit) == cells]
    each = (measured.peak_bytes + measured.context_bytes) / GIB
    many = f"{cells} cells share a GPU" if cells > 1 else "each cell has a GPU alone"
    return (
        f"--gpus-per-trial auto: {many}, limited by {' and '.join(reasons)}. One cell takes "
        f"{each:.1f} of {measured.total_bytes / GIB:.1f} GiB and runs kernels "
        f"{100 * measured.busy:.0f} % of the time; CUDA MPS "
        f"{'runs' if measured.mps else 'does not run'}"
    )


def heaviest(cells: Sequence[CellConfig]) -> CellConfig:
    """Return a cell of the kind that takes most of a GPU.

    The depth of the classifier counts first, then whether the method differentiates through a
    step (a batch of the meta set), then how few stages that leaves out, then the batch size.
    """
    return max(cells, key=_weight)


def mps_runs(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether an MPS daemon listens on this machine, where CUDA would look for it."""
    folder = environment.get("CUDA_MPS_PIPE_DIRECTORY", MPS_PIPE_DIRECTORY)
    return (Path(folder) / "control").exists()


def _limits(measured: CellMeasured, there: PerGpu) -> dict[str, int]:
    """Return what each resource alone has room for."""
    each = measured.peak_bytes + measured.context_bytes
    return {
        "memory": math.floor(MEMORY_SHARE * measured.total_bytes / each),
        "kernel time": math.ceil(FULL / measured.busy) if measured.busy > 0 else MOST,
        "CPUs": math.floor(there.cpus),
        "the cells to run": math.ceil(there.cells),
        f"the most allowed ({MOST})": MOST,
    }


def _weight(cell: CellConfig) -> tuple[float, bool, int, int]:
    method = cell.method
    is_ours = cell.model.name in MODEL_NAMES  # another is of unknown size, maybe the heaviest
    depth = math.inf if not is_ours else int("".join(filter(str.isdigit, cell.model.name)))
    return depth, method.meta_set is not None, -method.frozen_stages, cell.allocate.batch_size
