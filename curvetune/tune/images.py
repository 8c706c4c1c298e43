"""Images decoded by Ray Data on whatever CPUs of the cluster are kept for it, in exactly one order.

On one node the threads of `ShardPixels` are faster (benchmarks/data/image_stream.py --ray). This is
for nodes that have CPUs and no trials: it makes the shards that a trial's node lacks, and decodes
what has no room there in every epoch. Blocks are read in the order of the epoch, and each row
carries its place in it, which is checked.

Ray Data's own `execution_no_progress_timeout_s` is off. It also runs while the trial takes its time
with the batches that it has, so that a slow network would end as a hang (seen with 2.60). Here only
the time is counted in which a trial waits for a batch.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import DataContext, ExecutionResources

from curvetune.data.pixels import Positions
from curvetune.data.stream import ShardPixels, disk
from curvetune.data.stream.ahead import contents_of
from curvetune.data.stream.shard import Verdict
from curvetune.data.stream.shards import Shards
from curvetune.errors import BackendError, DataError
from curvetune.tune.waited import LateError, Waited

PIPELINE = "Ray Data: read, decode, resize"
ROWS_IN_TASK = 64  # a task takes tenths of a second, which is more than Ray takes to start one
WAIT_S = 120.0  # for one batch; the first has to wait for workers that import this
MEMORY_BYTES = 512_000_000  # of the object store, for blocks that are not used yet
AHEAD = 2  # batches

T = TypeVar("T")


class RayPixels:
    """A `Pixels` that decodes on other CPUs what its node has no shard of."""

    def __init__(self, pixels: ShardPixels, cpus: float, wait_s: float = WAIT_S) -> None:
        """Decode with up to `cpus` at once."""
        self._pixels, self._cpus, self._wait_s = pixels, cpus, wait_s
        self._is_filled = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return self._pixels.shape

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        """Return some images, (n, 3, H, W), decoded here if need be."""
        return self._pixels[positions]

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield images in the order of `positions`, `batch_size` at a time, (B, 3, H, W).

        Raises:
            DataError: an image is not what it was.
            BackendError: Ray Data gave no batch for too long, or failed.
        """
        if not self._is_filled:
            fill(self._pixels.shards, self._cpus, self._wait_s)
            self._is_filled = True
        if not self._pixels.shards.missing():
            yield from self._pixels.read(positions, batch_size)
            return
        rows = self._pixels.rows[positions]
        for images, _ in decoded(self._pixels.shards, rows, batch_size, self._cpus, self._wait_s):
            yield images


def fill(shards: Shards, cpus: float, wait_s: float = WAIT_S) -> None:
    """Make the shards that this node lacks, as far as it has room.

    Raises:
        DataError: an image is not what it was.
        BackendError: Ray Data gave nothing for too long, or failed.
    """
    with disk.building("fill"):  # one process of a node
        missing = [k for k in shards.missing() if shards.has_room(k)]
        if not missing:
            return
        rows = np.concatenate([shards.rows_of(k) for k in missing])
        made = decoded(shards, rows, len(shards.rows_of(0)), cpus, wait_s, strict=False)
        for k, (images, verdicts) in zip(missing, made, strict=True):
            if not (shards.has_room(k) and shards.keep(k, images, verdicts)):
                return


def decoded(
    shards: Shards,
    rows: Positions,
    batch_size: int,
    cpus: float,
    wait_s: float = WAIT_S,
    *,
    strict: bool = True,
) -> Iterator[tuple[NDArray[np.uint8], list[Verdict]]]:
    """Yield images and what became of each, in the order of `rows`, `batch_size` at a time.

    Args:
        strict: a bad image is an error; else it is black.

    Raises:
        DataError: an image is not what it was, or bad.
        BackendError: Ray Data gave no batch for too long, or failed.
    """
    place = 0
    for batch in _waited(_batches(shards, rows, batch_size, cpus), wait_s):
        expected = np.arange(place, place := place + len(batch["place"]))
        if not np.array_equal(batch["place"], expected):
            raise BackendError(f"{PIPELINE}: batches came in another order than was asked for")
        told = [json.loads(text) for text in batch["verdict"].tolist()]
        for text, bad in ((one["error"], one["bad"]) for one in told):
            if text is not None or (strict and bad is not None):
                raise DataError(text or bad)
        verdicts = [Verdict(one["bad"], tuple(one["changes"]), one["content"]) for one in told]
        # a copy of what Ray shares, since PyTorch wants to be able to write
        yield np.require(batch["image"], np.uint8, ["C", "W"]), verdicts
    if place != len(rows):
        raise BackendError(f"{PIPELINE}: {place} images came of {len(rows)}; run it again")


def _batches(
    shards: Shards, rows: Positions, batch_size: int, cpus: float
) -> Iterator[dict[str, Any]]:
    sent = ray.put(shards)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        cpu=cpus, object_store_memory=MEMORY_BYTES
    )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised all the same
    parts = [rows[start : start + ROWS_IN_TASK] for start in range(0, len(rows), ROWS_IN_TASK)]
    tasks = [
        {"start": k * ROWS_IN_TASK, "rows": part.astype(np.int64).tobytes()}
        for k, part in enumerate(parts)
    ]
    with DataContext.current(context):
        table = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            _decode,  # type: ignore[arg-type]  # of dict, not of arrays alone
            fn_args=(sent, shards.size),
            batch_size=1,
            batch_format="numpy",
            num_cpus=1,
        )
        yield from table.iter_batches(
            batch_size=batch_size, prefetch_batches=AHEAD, batch_format="numpy"
        )


def _decode(task: Any, sent: Any, size: int) -> Any:
    """Read and decode the rows of a task, in a worker on any node.

    Whatever fails comes back as text. Ray Data tries a task that raises again without end where
    the worker cannot load what it was sent (seen with 2.60).
    """
    rows = np.frombuffer(task["rows"][0], np.int64)
    place = int(task["start"][0]) + np.arange(len(rows))
    try:
        images, told = _judged(ray.get(sent) if isinstance(sent, ray.ObjectRef) else sent, rows)
    except Exception as error:
        text = f"{PIPELINE}: a worker failed ({type(error).__name__}: {error})"
        images = np.zeros((len(rows), 3, size, size), np.uint8)
        told = [_told(error=text)] * len(rows)
    return {"place": place, "image": images, "verdict": np.array([json.dumps(t) for t in told])}


def _judged(shards: Shards, rows: Positions) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    images = np.zeros((len(rows), 3, shards.size, shards.size), np.uint8)
    told = []
    contents = contents_of(shards.encoded, rows)
    for k, (row, content) in enumerate(zip(rows.tolist(), contents, strict=True)):
        try:
            image, verdict = shards.judge(row, content)
        except DataError as error:
            told.append(_told(error=str(error)))
            continue
        if image is not None:
            images[k] = image
        told.append(_told(verdict))
    return images, told


def _told(verdict: Verdict | None = None, error: str | None = None) -> dict[str, Any]:
    """Return a verdict, or an error, as JSON takes it."""
    verdict = verdict or Verdict(None)
    return {"error": error, **asdict(verdict)}


def _waited(items: Iterator[T], limit_s: float) -> Iterator[T]:
    """Yield `items` as long as each is there within `limit_s`.

    Raises:
        BackendError: one was not, or Ray failed.
    """
    with closing(Waited(items, limit_s)) as coming:
        try:
            yield from coming
        except LateError:
            raise BackendError(_starved(limit_s)) from None
        except Exception as error:  # Ray's own are of several kinds
            raise BackendError(_failed(error)) from error


def _starved(limit_s: float) -> str:
    return (
        f"{PIPELINE}: no batch within {limit_s:g} s; no CPU is free for it, or a file system "
        f"hangs. Keep CPUs free of trials for it with --data-cpus, or --data-cpus 0 lets each "
        f"trial decode for itself"
    )


def _failed(error: BaseException) -> str:
    words = str(error).strip().splitlines() or [""]
    return f"{PIPELINE}: {type(error).__name__}: {words[-1]}; run the same command again"


def on_other_cpus(pixels: Any, cpus: float) -> Any:
    """Return images so that Ray Data decodes them, if they are streamed and it has CPUs."""
    return RayPixels(pixels, cpus) if cpus and isinstance(pixels, ShardPixels) else pixels
