"""Where a training diverged: epochs whose loss is no finite number, or leaps.

A leap is a loss that is more than 6 standard deviations above the mean of up to 128 values before
it. That is the rule of OLMo-core (src/olmo_core/train/callbacks/stability_monitor.py), for the
losses of steps. Ours are of epochs, whose number is small and whose learning rate may jump by
design, as in a cyclic probe. So a leap is also above the loss of the first epoch: worse than after
one look at the data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

WINDOW = 128
DEVIATIONS = 6.0
FEWEST = 3  # losses before it that a leap needs: two always lie within one deviation
NAMED = 3  # epochs named in words
STAGES = {"probe": "the probe", "allocate": "allocating"}

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Fault:
    """An epoch at which a training diverged."""

    stage: str
    epoch: int
    loss: float

    @property
    def words(self) -> str:
        """What happened, for people: `loss 812 at epoch 12`."""
        return f"loss {self.loss:.3g} at epoch {self.epoch}"


def divergence(stage: str, rows: Rows) -> list[Fault]:
    """Return the epochs of a history at which the loss was not finite, or leapt."""
    found: list[Fault] = []
    before: list[float] = []
    for row in rows:
        loss = row.get("loss")
        if not isinstance(loss, int | float):
            continue
        if not math.isfinite(loss) or _leaps(loss, before):
            found.append(Fault(stage, int(row["epoch"]), float(loss)))
        if math.isfinite(loss):
            before.append(float(loss))
    return found


def divergence_words(faults: Sequence[Fault]) -> str:
    """Return what happened in a line; empty if nothing did."""
    parts = []
    for stage in dict.fromkeys(fault.stage for fault in faults):
        of_it = [fault for fault in faults if fault.stage == stage]
        more = f" and {len(of_it) - NAMED} more" if len(of_it) > NAMED else ""
        words = ", ".join(fault.words for fault in of_it[:NAMED])
        parts.append(f"{STAGES.get(stage, stage)}: {words}{more}")
    return "; ".join(parts)


def _leaps(loss: float, before: Sequence[float]) -> bool:
    if len(before) < FEWEST or loss <= before[0]:
        return False
    window = before[-WINDOW:]
    return loss > fmean(window) + DEVIATIONS * pstdev(window)
