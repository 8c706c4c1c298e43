"""When trials computed on which GPU, and what that comes to. Used by orchestration.py."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

WORK = "work.jsonl"  # in the storage: a row for each trial


@dataclass(frozen=True)
class TrialTimes:
    """One trial, in Unix seconds.

    Args:
        work: the seconds that it computed.
    """

    gpu: int
    began: float
    ended: float
    work: float


@dataclass(frozen=True)
class Timeline:
    """All trials of a run that began at `began`, in Unix seconds."""

    trials: Sequence[TrialTimes]
    began: float
    wall_s: float
    gpus: int

    def first_s(self) -> float:
        """Return how long it took until a trial computed: workers import PyTorch meanwhile."""
        return min(trial.began for trial in self.trials) - self.began

    def end_s(self) -> float:
        """Return how long the run took after its last trial."""
        return self.began + self.wall_s - max(trial.ended for trial in self.trials)

    def lost_per_trial(self, needed_s: float) -> float:
        """Return the GPU seconds of the run that were not needed, for each trial."""
        return (self.wall_s * self.gpus - needed_s) / len(self.trials)

    def idle_share(self) -> float:
        """Return in which share of the run a GPU computed nothing, needed or not."""
        return 1 - sum(trial.work for trial in self.trials) / (self.wall_s * self.gpus)

    def startups(self) -> tuple[float, float]:
        """Return median and maximum of the time between two trials of a GPU; NaN without any."""
        gaps = [
            later.began - earlier.ended
            for gpu in sorted({trial.gpu for trial in self.trials})
            for earlier, later in pairwise(self._on(gpu))
        ]
        return (statistics.median(gaps), max(gaps)) if gaps else (float("nan"), float("nan"))

    def _on(self, gpu: int) -> list[TrialTimes]:
        """Return the trials of one GPU in the order in which they ran."""
        return sorted((t for t in self.trials if t.gpu == gpu), key=lambda t: t.began)


def read_timeline(storage: Path, began: float, wall_s: float, gpus: int) -> Timeline:
    """Return the timeline that the stand-ins wrote to a storage."""
    rows = [json.loads(line) for line in (storage / WORK).read_text().splitlines()]
    return Timeline([_trial(row) for row in rows], began, wall_s, gpus)


def _trial(row: dict[str, Any]) -> TrialTimes:
    work = sum(end - start for _, start, end in row["work"])
    return TrialTimes(row["gpu"], row["began"], row["ended"], work)
