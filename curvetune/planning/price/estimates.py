"""Estimates that were made when grids began, to be compared with what their cells took.

    estimates/<grid>-<number>.json    {"grid", "made", "devices": {kind: {"cells", "probes"}}}

Each has the device seconds of every final training and every probe that was to be run, for each
kind of device that anything was known of: which one the cluster would have was not known then.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from curvetune.errors import CurvetuneError, StorageError
from curvetune.planning.price.evidence import positive
from curvetune.planning.price.measured import Done, StorageMeasured
from curvetune.store.files import read_json, write_json
from curvetune.store.names import ESTIMATES

SCHEMA_VERSION = 1
NEWEST = 50  # that are compared

logger = logging.getLogger(__name__)

Seconds = Mapping[str, float]  # of a device, by the address of a run


@dataclass(frozen=True)
class Past:
    """How good the estimates of earlier grids were: seconds taken over seconds expected."""

    ratios: tuple[float, ...]  # one for each grid of which a part is done, the newest first

    @property
    def median(self) -> float | None:
        """The one in the middle."""
        return median(self.ratios) if self.ratios else None

    def to_json(self) -> dict[str, Any]:
        """Return n, the median and the range; None without any."""
        return {
            "n": len(self.ratios),
            "median_ratio": self.median,
            "least_ratio": min(self.ratios, default=None),
            "most_ratio": max(self.ratios, default=None),
        }


def write_estimate(
    storage: Path, grid: str, devices: Mapping[str, tuple[Seconds, Seconds]]
) -> None:
    """Keep what the cells and the probes of a grid are expected to take on each kind of device.

    Nothing is written if nothing is known. A failure is logged: the grid matters more.
    """
    known = {
        device: {"cells": dict(cells), "probes": dict(probes)}
        for device, (cells, probes) in devices.items()
        if cells or probes
    }
    if not known:
        return
    made = time.time()
    path = storage / ESTIMATES / f"{grid}-{int(made * 1000)}.json"
    content = {"schema_version": SCHEMA_VERSION, "grid": grid, "made": made, "devices": known}
    try:
        write_json(path, content)
    except CurvetuneError as error:
        logger.warning("the estimate of this grid is not kept: %s", error)


def read_past(storage: Path, measured: StorageMeasured) -> Past:
    """Return how the newest estimates of `storage` compare with what was measured since."""
    ratios = (_ratio(content, measured) for content in _newest(storage))
    return Past(tuple(ratio for ratio in ratios if ratio is not None))


def _newest(storage: Path) -> Iterator[dict[str, Any]]:
    files = (storage / ESTIMATES).glob("*-*.json")
    newest = sorted(files, key=lambda file: file.stem.rpartition("-")[2], reverse=True)
    for path in newest[:NEWEST]:
        try:
            yield read_json(path)
        except StorageError:
            continue


def _ratio(content: Mapping[str, Any], measured: StorageMeasured) -> float | None:
    """Return taken over expected, of the runs that ended after the estimate, on its device."""
    try:
        pairs = [
            (positive(float(expected)), done.seconds)
            for device, stages in content["devices"].items()
            for stage, found in (("cells", measured.cells), ("probes", measured.probes))
            for key, expected in stages[stage].items()
            if (done := found.get(key)) and _is_newer(done, device, float(content["made"]))
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    expected = sum(seconds for seconds, _ in pairs)
    return sum(seconds for _, seconds in pairs) / expected if expected else None


def _is_newer(done: Done, device: str, made: float) -> bool:
    return done.device == device and done.finished > made
