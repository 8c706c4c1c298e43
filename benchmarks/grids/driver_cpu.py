"""The processor time of this process while it runs a grid. Used by orchestration.py."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.grids.timeline import TrialTimes

EVERY_S = 0.5
THREADS = Path("/proc/self/task")
TICKS = os.sysconf("SC_CLK_TCK")


class Sampler:
    """Notes the processor time of this process now and then."""

    def __init__(self, *, threads: bool = False) -> None:
        """Note that of each thread as well, if asked: it takes 1 % of a core itself."""
        self._wanted = threads
        self.times: list[float] = []  # Unix seconds
        self.cpu: list[float] = []  # seconds until then
        self._threads: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        """Return the processor time of the whole block."""
        return self.cpu[-1] - self.cpu[0]

    def share(self, began: float, ended: float) -> float:
        """Return the processor time between two moments over the time between them."""
        first, last = np.interp([began, ended], self.times, self.cpu)
        return float(last - first) / (ended - began)

    def by_thread(self, began: float, ended: float) -> list[tuple[str, float]]:
        """Return the same of each thread by name, the busiest first; small ones are left out."""
        inside = [k for k, at in enumerate(self.times) if began <= at <= ended]
        first, last = inside[0], inside[-1]
        seconds = self.times[last] - self.times[first]
        shares = [
            (name, (value - self._threads[first].get(name, 0.0)) / seconds)
            for name, value in self._threads[last].items()
        ]
        return sorted((s for s in shares if s[1] > 0.0005), key=lambda s: -s[1])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._note()
            self._stop.wait(EVERY_S)
        self._note()

    def _note(self) -> None:
        self.times.append(time.time())
        self.cpu.append(time.process_time())
        self._threads.append(_thread_seconds() if self._wanted else {})


def window(trials: Sequence[TrialTimes], settled_s: float) -> tuple[float, float]:
    """Return from when to when all trials ran, the first `settled_s` seconds left out."""
    began = max(trial.began for trial in trials) + settled_s
    ended = min(trial.ended for trial in trials)
    if ended <= began:
        raise ValueError(f"the trials ran together for less than {settled_s:g} s; take longer ones")
    return began, ended


def _thread_seconds() -> dict[str, float]:
    """Return the processor time of each thread, by its name and number; empty beside Linux."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: dict[str, float] = {}
    for folder in THREADS.glob("*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8")
        except OSError:
            continue  # it has just ended
        name, _, rest = text.partition("(")[2].rpartition(")")
        used = sum(map(int, rest.split()[11:13])) / TICKS
        label = names.get(int(folder.name), name)
        seconds[f"{label} {folder.name}"] = used
    return seconds
