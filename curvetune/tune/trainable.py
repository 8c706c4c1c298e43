"""What runs in a worker: one trial is one cell, from its config to its result in the storage.

A worker is used for one trial after another, so nothing may stay behind in module globals: the
training core draws from generators that it makes itself, and threads are set for every trial.
"""

import contextlib
import faulthandler
import gc
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.tune
import torch
from ray.exceptions import RayError

from curvetune.config import CellConfig
from curvetune.data.source import Dataset
from curvetune.errors import (
    BusyError,
    HangError,
    LostLeaseError,
    NodeError,
    PausedError,
    StoppedError,
    StorageError,
)
from curvetune.planning.resources import Engine
from curvetune.store import CellStore
from curvetune.store.flags import Flag
from curvetune.store.names import TUNE
from curvetune.system.redact import redact
from curvetune.training.engine import ENGINE
from curvetune.training.failures import failure_kind, is_out_of_memory
from curvetune.training.import_errors import IMPORT, import_words, words_in_log
from curvetune.tune.curves import CurveReader
from curvetune.tune.nodes.asked import Question, fake_gpus

# How long Ray waits for the thread of the last trial before it gives a worker the next one. With
# its own 2 s, a slow machine makes it abort the next trial without telling the searcher.
THREAD_TIMEOUT_S = "60"

logger = logging.getLogger(__name__)

RunCell = Callable[..., dict[str, Any]]  # curvetune.cell.run_cell, or a stand-in


@dataclass(frozen=True)
class Work:
    """What all trials of a launch have in common, the data apart.

    Args:
        launch_id: tells a launch from all others.
        hang_after_s: how long a cell may go without the end of an epoch.
        data_cpus: of the cluster, which decode the streamed images of each trial; 0: its own do.
        question: what a node must answer before it runs trials; None asks nothing.
        engine: how steps are run.
        until: the epochs at which cells wait, of those that do.
    """

    digest: str
    storage: Path
    checkpoint_every: int
    cpus: float
    launch_id: str
    hang_after_s: float
    run_cell: RunCell | None = None
    data_cpus: float = 0.0
    question: Question | None = None
    engine: Engine = "graphs"
    until: Mapping[str, int] = field(default_factory=dict)

    @property
    def stop_file(self) -> Path:
        """What is there once the trials are to stop."""
        return self.storage / TUNE / f"{self.launch_id}.stop"

    def leave_file(self, node: str) -> Path:
        """What is there once the trials of a node are to leave it."""
        return self.storage / TUNE / f"{self.launch_id}.leave-{node}"

    def forget_signals(self, drained: Iterable[str]) -> None:
        """Remove what trials look for; of the nodes that were drained, too."""
        for file in (self.stop_file, *map(self.leave_file, drained)):
            with contextlib.suppress(OSError, StorageError):
                Flag(file).take_down()

    def hang_log(self, cell_id: str) -> Path:
        """Where the last words of a cell go that hung in this launch."""
        return CellStore(self.storage).folder(cell_id) / f"hang-{self.launch_id}.log"


def train_cell(
    config: Mapping[str, Any],
    *,
    cell: CellConfig,
    work: Work,
    dataset: Any,
    curves: CurveReader,
) -> None:
    """Run a cell, whose id is `config["cell_id"]`, and tell Tune how it went.

    Tune hears {"stage": "stored", "probe_id"} as soon as curves are on the disk, and at last how it
    ended: `done`, `paused`, `stopped`, `busy` (another command has the cell, or makes its probe) or
    `failed`.
    Epochs are not reported: the history files have them, and each report would hold up the training
    until the driver has read it.

    A failure ends the trial normally, so that Tune retries only where the process was lost.
    """
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = THREAD_TIMEOUT_S
    torch.set_num_threads(max(1, int(work.cpus)))
    cell_id = config["cell_id"]
    ending: dict[str, Any] = {"stage": "done"}
    try:
        with watched(work.hang_log(cell_id), work.hang_after_s) as alive:
            _run(cell, cell_id, work, dataset, curves, alive)
    except PausedError:
        ending = {"stage": "paused"}
    except StoppedError:
        ending = {"stage": "stopped" if Flag(work.stop_file).is_up() else "moved"}
    except BusyError as error:
        ending = {"stage": "busy", "with_probe": "probes" in Path(error.folder).parts[-2:]}
    except LostLeaseError as error:
        logger.warning("%s", error)
        ending = {"stage": "busy", "with_probe": False}
    except NodeError as error:
        ending = {"stage": "unfit", "node": this_node(), "why": str(error)}
    except Exception as error:
        if _process_is_lost(error):
            raise
        kind = failure_kind(error)
        said = redact(import_words(error)) if kind == IMPORT else one_line(error)
        ending = {"stage": "failed", "failed": said, "kind": kind}
        with contextlib.suppress(StorageError):  # a full disk takes no FAILED.json either
            CellStore(work.storage).fail(
                cell_id, ending["failed"], traceback.format_exc(), kind=ending["kind"]
            )
    finally:
        _free_memory()
    ray.tune.report({**ending, "cell_id": cell_id})


def _run(
    cell: CellConfig,
    cell_id: str,
    work: Work,
    dataset: Any,
    curves: CurveReader,
    alive: Callable[[], None],
) -> None:
    listener = _Listener(cell_id, curves)

    def on_event(event: dict[str, Any]) -> None:
        alive()
        listener(event)

    os.environ[ENGINE] = work.engine
    runner(work)(
        cell,
        work.digest,
        decoded_for(dataset, work.data_cpus),
        work.storage,
        device=pick_device(),
        checkpoint_every=work.checkpoint_every,
        on_event=on_event,
        read_curves=curves,
        stop=_told_to_stop(work),
        **({"until": work.until[cell_id]} if cell_id in work.until else {}),
        **_sharing(),
    )


def _told_to_stop(work: Work) -> Callable[[], bool]:
    """Return what says whether this trial is to end: all are, or those of its node."""
    flags = Flag(work.stop_file), Flag(work.leave_file(this_node()))
    return lambda: any(flag.is_up() for flag in flags)


def this_node() -> str:
    """Return Ray's id of the node that this process is on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def decoded_for(dataset: Any, cpus: float) -> Any:
    """Return a data set whose streamed images are decoded by CPUs of the cluster, if it has any."""
    if not (cpus and isinstance(dataset, Dataset)):
        return dataset
    from curvetune.tune.images import on_other_cpus  # Ray Data takes a second to import

    train, test = (
        replace(images, x=on_other_cpus(images.x, cpus)) for images in (dataset.train, dataset.test)
    )
    return replace(dataset, train=train, test=test)


@contextlib.contextmanager
def watched(log: Path, limit_s: float) -> Iterator[Callable[[], None]]:
    """End this process if the block does not call what it is given for `limit_s` seconds.

    The threads' stacks go to `log` then. The watch is faulthandler's, written in C: it works where
    a library holds Python's lock for ever. Tune starts the trial again in a new process, which
    finds the log and fails.

    Raises:
        HangError: `log` is there.
    """
    if log.exists() and log.stat().st_size:
        stacks = log.read_text(encoding="utf-8", errors="replace")
        log.unlink()
        raise HangError(
            f"no epoch ended within {limit_s:g} s, so its process was ended; if that is how long "
            f"one takes, give more time with --hang-after\n{stacks}"
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:

        def alive() -> None:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=file)

        alive()
        try:
            yield alive
        finally:
            faulthandler.cancel_dump_traceback_later()
            log.unlink(missing_ok=True)


def pick_device() -> torch.device:
    """Return the GPU that Ray gave this trial, or the CPU.

    A trial without a GPU still sees all of them, so what PyTorch finds is no answer.

    Raises:
        NodeError: Ray gave it one, and PyTorch cannot use it.
    """
    if not ray.get_gpu_ids() or fake_gpus():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NodeError(
            f"Ray gave a trial a GPU there, but PyTorch {torch.__version__} finds none; install "
            f"PyTorch for CUDA and the driver there, or train on CPUs with --gpus-per-trial 0"
        )
    return torch.device("cuda")


def _sharing() -> dict[str, Any]:
    """Return what a result says of how many cells had room on its GPU; nothing if it was alone."""
    context = ray.get_runtime_context()
    share = context.get_assigned_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    return {"info": {"workers": int(1 / share + 1e-6)}} if 0 < share < 1 else {}


def one_line(error: BaseException) -> str:
    """Return the type and the first line of an error's message, without secrets."""
    lines = redact(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def task_reason(error: RayError) -> str:
    """Return on one line why a task of ours failed in its worker."""
    words = words_in_log(str(error))
    return one_line(getattr(error, "cause", None) or error) if words is None else redact(words)


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


def runner(work: Work) -> RunCell:
    """Return what runs a cell, once all that it imports at once is imported."""
    if work.run_cell is not None:
        return work.run_cell
    from curvetune.cell import run_cell

    return run_cell


def _process_is_lost(error: Exception) -> bool:
    """Say whether the GPU is unusable in this process for good (not: merely out of memory)."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def _free_memory() -> None:
    """Give back the GPU memory that the trial held, since others may share the GPU."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # a third of a second, with all the objects that PyTorch and Ray have
        torch.cuda.empty_cache()
