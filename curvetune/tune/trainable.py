"""What runs in a worker: one trial is one cell, from its config to its result in the storage.

A worker is used for one trial after another, so nothing may stay behind in module globals: the
training core draws from generators that it makes itself, and threads are set for every trial.
"""

import gc
import logging
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.tune
import torch

from curvetune.config import CellConfig
from curvetune.store import CellStore
from curvetune.train.failures import failure_kind, is_out_of_memory
from curvetune.tune.curves import CurveReader

# How long Ray waits for the thread of the last trial before it gives a worker the next one. With
# its own 2 s, a slow machine makes it abort the next trial without telling the searcher.
THREAD_TIMEOUT_S = "60"

logger = logging.getLogger(__name__)

RunCell = Callable[..., dict[str, Any]]  # curvetune.cell.run_cell, or a stand-in


@dataclass(frozen=True)
class Work:
    """What all trials of a launch have in common, the data apart."""

    digest: str
    storage: Path
    checkpoint_every: int
    cpus: float
    run_cell: RunCell | None = None


def train_cell(
    config: Mapping[str, Any],
    *,
    work: Work,
    cells: Mapping[str, CellConfig],
    dataset: Any,
    curves: CurveReader,
) -> None:
    """Run the cell that `config["cell_id"]` names, and tell Tune how it went.

    Tune hears two things: {"stage": "stored", "probe_id"} as soon as curves are on the disk, and
    at last {"stage": "done"} or {"failed": one line}. Epochs are not reported: the history files
    have them, and each report would hold up the training until the driver has read it.

    A failure ends the trial normally, so that Tune retries only where the process was lost.
    """
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = THREAD_TIMEOUT_S
    torch.set_num_threads(max(1, int(work.cpus)))
    cell_id = config["cell_id"]
    try:
        _runner(work)(
            cells[cell_id],
            work.digest,
            dataset,
            work.storage,
            device=pick_device(),
            checkpoint_every=work.checkpoint_every,
            on_event=_Listener(cell_id, curves),
            read_curves=curves,
            **_sharing(),
        )
    except Exception as error:
        if _process_is_lost(error):
            raise
        message = one_line(error)
        log, kind = traceback.format_exc(), failure_kind(error)
        CellStore(work.storage).fail(cell_id, message, log, kind=kind)
        ray.tune.report({"stage": "failed", "cell_id": cell_id, "failed": message})
    else:
        ray.tune.report({"stage": "done", "cell_id": cell_id})
    finally:
        _free_memory()


def pick_device() -> torch.device:
    """Return the GPU that Ray gave this trial, or the CPU.

    A trial without a GPU still sees all of them, so what PyTorch finds is no answer.
    """
    given = bool(ray.get_gpu_ids()) and torch.cuda.is_available()
    return torch.device("cuda" if given else "cpu")


def _sharing() -> dict[str, Any]:
    """Return what a result says of how many cells had room on its GPU; nothing if it was alone."""
    context = ray.get_runtime_context()
    share = context.get_assigned_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    return {"info": {"workers": int(1 / share + 1e-6)}} if 0 < share < 1 else {}


def one_line(error: BaseException) -> str:
    """Return the type and the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class _Listener:
    """Hears a cell's events: passes on that curves are stored, and renews them in the cache."""

    def __init__(self, cell_id: str, curves: CurveReader) -> None:
        self._cell_id = cell_id
        self._curves = curves
        self._probed = False

    def __call__(self, event: dict[str, Any]) -> None:
        if event["stage"] == "probe":
            self._probed = True
        if event["stage"] != "stored":
            return
        if self._probed:
            self._curves.forget(event["probe_id"])
        ray.tune.report({**event, "cell_id": self._cell_id})


def _runner(work: Work) -> RunCell:
    if work.run_cell is not None:
        return work.run_cell
    from curvetune.cell import run_cell

    return run_cell


def _process_is_lost(error: Exception) -> bool:
    """Say whether the GPU is unusable in this process for good (not: merely out of memory)."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def _free_memory() -> None:
    """Give back what the trial held, since others may share the device with this worker."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
