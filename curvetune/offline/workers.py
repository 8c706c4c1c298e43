"""The processes that run cells, and when they stop.

Every process has PyTorch and the data of its own and runs one cell after another.
"""

import contextlib
import gc
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data import Dataset
from curvetune.errors import StoppedError
from curvetune.planning.plan import PlannedCell
from curvetune.plugins.code import Plugin
from curvetune.plugins.load import activate, of_refs
from curvetune.store import CellStore
from curvetune.training.failures import failure_kind

MARGIN = 1.5  # an epoch is given so many times the last one's duration; assumption, not measured
LAST_START = 0.05  # no new cell in this share of a slice's time: it could hardly begin
SIGNALS = (signal.SIGINT, signal.SIGTERM)

Message = tuple[str, str, str]  # what happened, to which cell or probe, and why


@dataclass(frozen=True)
class Slice:
    """How cells are run; times are those of `time.monotonic`.

    Args:
        deadline: when no cell is to be running any more.
        end: when a process that runs all the same is ended; its cell has its last checkpoint.
        max_epochs: of each process, for tests that must not depend on the speed of a machine.
    """

    storage: Path
    digest: str
    device: str = "cpu"
    workers: int = 1
    checkpoint_every: int = 5
    started: float = field(default_factory=time.monotonic)
    deadline: float = float("inf")
    end: float = float("inf")
    max_epochs: float = float("inf")

    @property
    def last_start(self) -> float:
        """When the last cell may start."""
        return self.started + (1 - LAST_START) * (self.deadline - self.started)


class Limit:
    """Says when a process is to stop: asked to, or the next epoch might not end in time."""

    def __init__(
        self,
        slice_: Slice,
        asked: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slice = slice_
        self._asked = asked
        self._clock = clock
        self._epoch_s = 0.0
        self._epochs = 0

    def heard(self, event: Mapping[str, Any]) -> None:
        """Take note of an epoch and of how long it took."""
        if "epoch" in event:
            self._epoch_s = event["seconds"]
            self._epochs += 1

    def __call__(self) -> bool:
        """Say whether to stop now."""
        is_late = self._clock() + MARGIN * self._epoch_s > self._slice.deadline
        return is_late or self._epochs >= self._slice.max_epochs or self._asked()


def work(pipe: Connection, slice_: Slice, asked: Callable[[], bool]) -> None:
    """Be a process that runs cells, until told to end or left alone."""
    for name in SIGNALS:  # they may reach all processes of a group; ours answers them
        signal.signal(name, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if slice_.device == "cpu":
        torch.set_num_threads(1)
    serve(pipe, slice_, lambda: asked() or (parent is not None and not parent.is_alive()))


def serve(pipe: Connection, slice_: Slice, asked: Callable[[], bool]) -> None:
    """Run cells as they come through `pipe`, after the data; None ends it."""
    device = torch.device(slice_.device)
    limit = Limit(slice_, asked)
    dataset: Dataset | None = pipe.recv()
    while dataset is not None and (cell := pipe.recv()) is not None:
        pipe.send(_run(_unpacked(cell), dataset, slice_, device, limit, pipe))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()  # others share the device


def _run(
    cell: CellConfig,
    dataset: Dataset,
    slice_: Slice,
    device: torch.device,
    limit: Limit,
    pipe: Connection,
) -> Message:
    """Run one cell; return what became of it."""
    cell_id = cell.cell_id(slice_.digest)

    def on_event(event: Mapping[str, Any]) -> None:
        limit.heard(event)
        if event["stage"] == "stored":
            pipe.send(("stored", event["probe_id"], ""))

    try:
        run_cell(
            cell,
            slice_.digest,
            dataset,
            slice_.storage,
            device=device,
            checkpoint_every=slice_.checkpoint_every,
            on_event=on_event,
            stop=limit,
            info={"workers": slice_.workers},
        )
    except StoppedError as stopped:
        return "stopped", cell_id, str(stopped)
    except Exception as error:
        if isinstance(error, torch.AcceleratorError) and not isinstance(
            error, torch.OutOfMemoryError
        ):
            raise  # the device is of no more use to this process
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        log, kind = traceback.format_exc(), failure_kind(error)
        CellStore(slice_.storage).fail(cell_id, reason, log, kind=kind)
        return "failed", cell_id, reason
    return "done", cell_id, ""


Packed = tuple[str, tuple[Plugin, ...]]  # a config as JSON, and the plugins that it needs


def _packed(cell: CellConfig) -> CellConfig | Packed:
    if not cell.plugins:
        return cell
    return cell.model_dump_json(), tuple(of_refs(ref for _, _, ref in cell.plugins))


def _unpacked(packed: CellConfig | Packed) -> CellConfig:
    if isinstance(packed, CellConfig):
        return packed
    activate(packed[1])
    return CellConfig.model_validate_json(packed[0])


class Worker:
    """A process that runs cells, seen from here."""

    def __init__(self, slice_: Slice, asked: Callable[[], bool]) -> None:
        context = multiprocessing.get_context("spawn")
        self.cell: PlannedCell | None = None  # that it runs
        self.is_over = False  # it has stopped a cell, and would stop the next one
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, slice_, asked), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, cell: PlannedCell) -> None:
        """Let it run a cell; nothing comes of it if the process has died."""
        self.cell = cell
        with contextlib.suppress(OSError):
            self.pipe.send(_packed(cell.config))

    def end(self) -> None:
        """End it, in order if it runs nothing."""
        if self.cell is None:
            with contextlib.suppress(OSError):
                self.pipe.send(None)
            self.process.join(timeout=10)
        self.process.kill()
        self.process.join()
        self.pipe.close()
