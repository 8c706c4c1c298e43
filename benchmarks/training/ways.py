"""Ways to run the training steps of several cells on one machine. Used by many_cells.py.

A `Crowd` says which cells run in one place and how; a `Runner` runs them there. A `Way` runs all
cells of a case: in this process, in threads (each with a CUDA stream of its own), from one thread
on several streams, or in other processes.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import nn

from benchmarks.training.stacks import SEPARATE, STACKS, Batches
from curvetune import models

WARM_UP = 3  # steps before a capture or a timing, as in curvetune/training/engine.py
SAMPLES_PER_GRAPH = 128  # steps are put in one graph up to so many samples, likewise
Steps = int
Work = Callable[[], object]


@dataclass(frozen=True)
class Crowd:
    """Cells that run in one place.

    Args:
        size: height and width of an image.
        batch: samples in the batch of each cell.
        cells: their seeds.
        stack: which of `STACKS` makes the steps.
        graph: whether a CUDA graph makes them.
        threads: of the CPU, for the operations.
    """

    model: str
    in_channels: int
    size: int
    batch: int
    cells: tuple[int, ...]
    stack: str = SEPARATE
    graph: bool = False
    device: str = "cpu"
    threads: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def steps_per_call(self) -> Steps:
        """Return how many steps `Runner.call` makes."""
        return max(1, SAMPLES_PER_GRAPH // self.batch) if self.graph else 1

    def networks(self) -> list[nn.Module]:
        """Return a freshly initialised network for each cell, as `curvetune.cell` makes them."""
        networks = [
            models.build(
                self.model, 10, self.in_channels, generator=torch.Generator().manual_seed(seed)
            )
            for seed in self.cells
        ]
        to: dict[str, Any] = {"memory_format": torch.channels_last}
        return [network.to(self.device, self.dtype, **to) for network in networks]

    def batches(self) -> Batches:
        """Return a random batch for each cell."""
        return [self._batch(torch.Generator().manual_seed(seed)) for seed in self.cells]

    def _batch(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (self.batch, self.in_channels, self.size, self.size)
        x = torch.randn(shape, generator=generator).to(self.device, self.dtype)
        y = torch.randint(10, (self.batch,), generator=generator).to(self.device)
        return x.contiguous(memory_format=torch.channels_last), y


class Runner:
    """Runs the steps of a crowd in this process; on a GPU on a stream of its own."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        torch.set_num_threads(crowd.threads)
        self._stream = torch.cuda.Stream() if crowd.device == "cuda" else None  # type: ignore[no-untyped-call]
        alone = [replace(crowd, cells=(cell,)) for cell in crowd.cells]
        self._work = [self._ready(part) for part in (alone if crowd.stack == SEPARATE else [crowd])]

    def call(self) -> None:
        """Make, or on a GPU only issue, `crowd.steps_per_call` steps of each cell."""
        with self._current():
            for work in self._work:
                work()

    def run(self, steps: Steps) -> float:
        """Make or issue `steps` steps of each cell, and all of a cell that makes its own at once.

        Returns:
            What other processes spent: nothing.
        """
        if self._stream is None:
            torch.set_num_threads(self._crowd.threads)
        with self._current():
            for work in self._work:
                for _ in range(steps // self._crowd.steps_per_call):
                    work()
        return 0.0

    def _current(self) -> contextlib.AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext()

    def _ready(self, crowd: Crowd) -> Work:
        """Return what makes `steps_per_call` steps, warmed up."""
        step = partial(STACKS[crowd.stack](crowd.networks()).step, crowd.batches())
        synchronize(crowd.device)  # what the steps read was made on another stream
        with self._current():
            for _ in range(WARM_UP):
                step()
        synchronize(crowd.device)
        return self._captured(step) if crowd.graph else step

    def _captured(self, step: Work) -> Work:
        # On this runner's stream: cuBLAS keeps a workspace for each stream, and two graphs that
        # run at the same time must not write to the same one.
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            for _ in range(self._crowd.steps_per_call):
                step()
        return graph.replay


@dataclass(frozen=True)
class Way:
    """Runs steps of all cells of a case. Steps may be left to the GPU when `run` returns.

    `run` returns the CPU time that other processes spent, in seconds.
    """

    name: str
    stack: str  # which of `STACKS`
    run: Callable[[Steps], float]
    close: Callable[[], object]


def here(name: str, crowd: Crowd) -> Way:
    """Run all cells in this thread."""
    return Way(name, crowd.stack, Runner(crowd).run, _nothing)


def streams(name: str, crowd: Crowd) -> Way:
    """Issue the steps of the cells in turn from this thread, each cell's on its own stream."""
    runners = [Runner(part) for part in split(crowd, len(crowd.cells))]

    def run(steps: Steps) -> float:
        for _ in range(steps // crowd.steps_per_call):
            for runner in runners:
                runner.call()
        return 0.0

    return Way(name, crowd.stack, run, _nothing)


def threads(name: str, crowd: Crowd, count: int) -> Way:
    """Run the cells in `count` threads of this process."""
    each = split(crowd, count)
    setting = (each[0].threads,)  # PyTorch keeps it for each thread
    pools = [
        ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=setting) for _ in each
    ]
    made = [pool.submit(Runner, part) for pool, part in zip(pools, each, strict=True)]
    runners = [future.result() for future in made]

    def run(steps: Steps) -> float:
        running = [p.submit(r.run, steps) for p, r in zip(pools, runners, strict=True)]
        return sum(future.result() for future in running)

    def close() -> None:
        for pool in pools:
            pool.shutdown()

    return Way(name, crowd.stack, run, close)


def processes(name: str, crowd: Crowd, count: int) -> Way:
    """Run the cells in `count` processes.

    Raises:
        RuntimeError: one of them ended; what it printed says why.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    workers = []
    for part in split(crowd, count):
        mine, theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(part, theirs), daemon=True))
        workers[-1].start()
        theirs.close()  # else the end of the process would not end the pipe
        pipes.append(mine)
    _hear(pipes)

    def run(steps: Steps) -> float:
        for pipe in pipes:
            pipe.send(steps)
        return _hear(pipes)

    def close() -> None:
        for pipe in pipes:
            pipe.send(0)
        for worker in workers:
            worker.join()

    return Way(name, crowd.stack, run, close)


def split(crowd: Crowd, count: int) -> list[Crowd]:
    """Return `count` crowds of about as many cells each, which share the threads."""
    threads = max(1, crowd.threads // count)
    return [replace(crowd, cells=crowd.cells[k::count], threads=threads) for k in range(count)]


def prepare(device: str) -> None:
    """Set the process up as `curvetune.training.engine` does, where that has anything to do."""
    if device == "cpu":
        from curvetune.training.engine import (
            prepare,  # needs pydantic, which a GPU machine may lack
        )

        prepare(torch.device(device))


def synchronize(device: str) -> None:
    """Wait for everything that was issued to the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def _work(crowd: Crowd, pipe: Connection) -> None:
    """Make as many steps as asked, again and again, until asked for none."""
    prepare(crowd.device)
    runner = Runner(crowd)
    pipe.send(0.0)
    while steps := pipe.recv():
        before = time.process_time()
        runner.run(steps)
        synchronize(crowd.device)
        pipe.send(time.process_time() - before)


def _hear(pipes: Sequence[Connection]) -> float:
    """Wait until all have answered; return the CPU time that they spent, in seconds."""
    spent = 0.0
    for pipe in pipes:
        try:
            spent += pipe.recv()
        except EOFError as error:
            raise RuntimeError("a process of the benchmark ended; see what it printed") from error
    return spent


def _nothing() -> None:
    pass
