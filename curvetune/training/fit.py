"""The training loop: the same for the probe and for every method.

It owns the order of the data, evaluation, checkpoints and history. All that it needs to go on is in
one checkpoint: the method's state, the random streams and the values per sample.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import reading
from curvetune.errors import CorruptError, DivergedError, PausedError, StoppedError
from curvetune.methods.base import Method, Recipe
from curvetune.store.history import History
from curvetune.training.checkpoint import Checkpoint
from curvetune.training.columns import Columns
from curvetune.training.engine import Eager, Engine
from curvetune.training.provenance import after, device_name

Row = dict[str, Any]
Samples = dict[str, Tensor]

# What is recorded: its key in a checkpoint, and its type, since a pack may have rounded losses.
KEYS = {"loss": ("curves", torch.float32), "margin": ("margins", torch.float16)}

logger = logging.getLogger(__name__)


def _nothing(_: Any) -> dict[str, float]:
    return {}


def never() -> bool:
    """Say that nobody asks to stop."""
    return False


def nothing() -> None:
    """Do nothing."""


@dataclass
class Loop:
    """What a run needs beside its method.

    `streams` holds the generators `train` and `meta`; `describe` adds numbers to an epoch's row
    from the values per sample, `evaluate` from the model. `stop` is asked before every epoch; at
    `until` epochs it ends for now. `guard` is called before anything is written, and raises if that
    is no longer ours to do.
    """

    recipe: Recipe
    train: ImageSet
    streams: dict[str, torch.Generator]
    checkpoint: Checkpoint
    history: Path
    meta: ImageSet | None = None
    meta_batch_size: int = 128
    meta_every: int = 1  # steps from one meta batch to the next; every epoch begins with one
    engine: Engine = field(default_factory=Eager)
    describe: Callable[[Samples], dict[str, float]] = _nothing
    evaluate: Callable[[nn.Module], dict[str, float]] = _nothing
    on_epoch: Callable[[Row], object] = _nothing
    stop: Callable[[], bool] = never
    until: int | None = None  # epochs, of which `recipe` may have more
    guard: Callable[[], None] = nothing
    layers_seed: int = 0  # of what layers draw themselves, such as dropout's masks
    # Makes of a step's values per sample, and the labels, what is kept of them until the epoch ends
    condense: Callable[[Samples, Tensor], Samples] | None = None
    # Makes of the values per sample what is kept of each epoch: `loss`, or also `margin`, (N,)
    record: Callable[[Samples], Samples] | None = None
    columns: Columns | None = None  # where what is recorded goes, if not to memory


@dataclass
class Trained:
    """What a run has made so far."""

    rows: list[Row] = field(default_factory=list)  # one for each epoch
    samples: Samples = field(default_factory=dict)  # latest value of each metric, (N,) or (N, K)
    # (N, T) of what is recorded, NaN where a sample was not visited
    recorded: Samples = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)  # kinds that it ran on, one after another


def fit(method: Method, loop: Loop) -> Trained:
    """Train to the end, from the last checkpoint if there is one; return what came of it.

    Raises:
        DivergedError: a loss is not finite.
        PausedError: `loop.until` epochs are done; checkpoint and history have them all.
        StoppedError: `loop.stop` said so; the checkpoint has all epochs that were run.
        LostLeaseError: raised by `loop.guard`.
    """
    made = Trained()
    first = _resume(method, loop, made)
    made.devices = after(made.devices, device_name(_device(method)))
    with History(loop.history, made.rows) as history:
        _train(method, loop, made, first, history)
    return made


def _train(method: Method, loop: Loop, made: Trained, first: int, history: History) -> None:
    """Run the epochs from `first` on."""
    saved = first
    for epoch in range(first, loop.recipe.epochs):
        is_there = loop.until is not None and epoch >= loop.until
        if is_there or loop.stop():
            loop.guard()
            if epoch > saved:
                loop.checkpoint.save(_state(method, loop, made))
            said = f"after {epoch} of {loop.recipe.epochs} epochs, as asked; they are kept"
            if is_there:
                history.keep()  # what comes next follows from it
                raise PausedError(f"paused {said}")
            raise StoppedError(f"stopped {said}: run the same command again to go on")
        started = time.time()
        visited: list[Tensor] = []
        with _layers_draw(loop.layers_seed, epoch, _device(method)):
            order = method.start_epoch(epoch)
            totals = _run_epoch(method, loop, made, epoch, order, visited)
        losses = made.samples["loss"] if order is None else made.samples["loss"][order]
        _record(loop, made, epoch, order)
        row: Row = {"epoch": epoch, "lr": loop.recipe.lr_at(epoch), "loss": float(losses.mean())}
        if not math.isfinite(row["loss"]):
            raise DivergedError(
                f"the mean loss of epoch {epoch} is {row['loss']}, first not finite in batch "
                f"{_first_not_finite(made, visited)} of {len(visited)}; lower the learning rate "
                f"(now {row['lr']:g}), for instance --set allocate.lr=0.05"
            )
        row |= totals | loop.describe(made.samples) | loop.evaluate(method.model)
        row |= {"time": time.time(), "seconds": time.time() - started}
        loop.guard()
        history.append(row)
        if loop.checkpoint.due(epoch + 1):
            loop.checkpoint.save(_state(method, loop, made))
            saved = epoch + 1
        loop.on_epoch(row)


@contextmanager
def _layers_draw(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Let layers that draw from PyTorch's global generators draw the same in each run of `epoch`.

    Dropout knows no other generator. Afterwards the global ones are as they were.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
        yield


def _first_not_finite(made: Trained, visited: list[Tensor]) -> int:
    """Return which of the batches, given by their indices, first has a loss that is not finite."""
    finite = made.samples["loss"].isfinite()
    return next(k for k, index in enumerate(visited) if not finite[index].all())


def _run_epoch(
    method: Method,
    loop: Loop,
    made: Trained,
    epoch: int,
    order: Tensor | None,
    visited: list[Tensor],
) -> dict[str, float]:
    """Give the method the samples of an epoch; return the mean over steps of its 0-d metrics.

    Args:
        visited: receives the indices of each batch.
    """
    size = loop.recipe.batch_size_at(epoch)
    meta = loop.meta.cycle(loop.meta_batch_size, loop.streams["meta"]) if loop.meta else None
    sums: dict[str, Tensor] = {}
    steps: dict[str, int] = {}
    with reading(loop.train.batches(size, loop.streams["train"], order=order)) as batches:
        pairs = (
            (batch, next(meta) if meta and k % loop.meta_every == 0 else None)
            for k, batch in enumerate(batches)
        )
        for batch, metrics in loop.engine.run(method, pairs):
            visited.append(batch.index)
            if loop.condense is not None:
                metrics = loop.condense(metrics, batch.y)
            for name, value in metrics.items():
                if value.dim() == 0:
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
                    steps[name] = steps.get(name, 0) + 1
                else:
                    _latest(made, name, value, len(loop.train))[batch.index] = value
    return {name: float(total) / steps[name] for name, total in sums.items()}


def _latest(made: Trained, name: str, like: Tensor, size: int) -> Tensor:
    """Return the tensor, (N,) or (N, K), that keeps the latest value of a metric."""
    if name not in made.samples:
        made.samples[name] = like.new_zeros(size, *like.shape[1:])
    return made.samples[name]


def _record(loop: Loop, made: Trained, epoch: int, order: Tensor | None) -> None:
    """Keep what is recorded of an epoch, of the samples in `order`, or of all.

    A checkpoint of a version that recorded less goes on as it began.
    """
    if loop.record is None:
        return
    for name, values in loop.record(made.samples).items():
        if epoch == 0:
            made.recorded[name] = _matrix(loop, name, values)
        if name in made.recorded:
            column = values
            if order is not None:
                column = torch.full_like(values, torch.nan)
                column[order] = values[order]
            _fill(loop, made, name, epoch, column)


def _matrix(loop: Loop, name: str, like: Tensor) -> Tensor:
    """Return a new matrix, (N, T), for what is recorded."""
    shape = len(loop.train), loop.recipe.epochs
    if loop.columns is not None:
        return loop.columns.begin(name, *shape, like.dtype)
    return like.new_full(shape, torch.nan)


def _fill(loop: Loop, made: Trained, name: str, epoch: int, values: Tensor) -> None:
    """Write a column, (N,), of what is recorded."""
    column = made.recorded[name][:, epoch]
    column.copy_(values)
    if loop.columns is not None:
        loop.columns.filled(name, column)


def _state(method: Method, loop: Loop, made: Trained) -> dict[str, Any]:
    done = len(made.rows)
    return {
        "epoch": done,
        "rows": made.rows,
        "devices": made.devices,
        "method": method.state.state_dict(),
        "streams": {name: stream.get_state() for name, stream in loop.streams.items()},
        "samples": {name: v for name, v in made.samples.items() if v.dim() == 1},
        **_recorded_state(loop, made, done),
    }


def _recorded_state(loop: Loop, made: Trained, done: int) -> dict[str, Any]:
    if loop.columns is not None:
        return {"columns": loop.columns.sums}
    return {KEYS[name][0]: values[:, :done] for name, values in made.recorded.items()}


def _resume(method: Method, loop: Loop, made: Trained) -> int:
    """Bring everything to where the last checkpoint left it; return the next epoch."""
    state = loop.checkpoint.load()
    if state is None or "rows" not in state:  # none, or of a version that kept the rows elsewhere
        return 0
    try:
        _resume_recorded(method, loop, made, state)
    except CorruptError as error:
        logger.warning("%s; the run starts over", error)
        made.recorded.clear()
        return 0
    done: int = state["epoch"]
    method.state.load_state_dict(state["method"])
    for name, stream in loop.streams.items():
        stream.set_state(state["streams"][name])
    for name, values in state["samples"].items():
        _latest(made, name, values.to(_device(method)), len(loop.train))[:] = values
    made.rows[:] = state["rows"]
    made.devices = list(state.get("devices", []))  # a checkpoint of before has none
    return done


def _resume_recorded(method: Method, loop: Loop, made: Trained, state: dict[str, Any]) -> None:
    """Bring back what was recorded, in memory or in files, from wherever it was.

    Raises:
        CorruptError: the files of it are not as they were.
    """
    if loop.record is None:
        return
    shape = len(loop.train), loop.recipe.epochs
    for name, (key, dtype) in KEYS.items():
        if name in (sums := state.get("columns", {})):
            files = loop.columns or Columns(loop.history.parent)
            made.recorded[name] = files.resume(name, *shape, dtype, sums[name])
            if loop.columns is None:  # it fits into memory here
                made.recorded[name] = made.recorded[name].to(_device(method), copy=True)
        elif state.get(key) is not None:
            begun = state[key].to(_device(method), dtype)
            made.recorded[name] = _matrix(loop, name, begun)
            for epoch, column in enumerate(begun.unbind(1)):
                _fill(loop, made, name, epoch, column)


def _device(method: Method) -> torch.device:
    return next(method.model.parameters()).device
