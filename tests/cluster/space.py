"""The grid of the cluster's tests, its command line, and what is said of two storages."""

import json
from pathlib import Path
from typing import Any

import grids
from bed import SHARED, Bed
from commands import Outcome, Process

# Four cells on two probes; an epoch takes about a tenth of a second.
SPACE = """
base:
  data: {name: digits, train_limit: 120, test_limit: 100}
  bias: {noise: symmetric, noise_rate: 0.4}
  model: {name: resnet8}
  probe: {epochs: 4, cyclic_start: 2, half_period: 1, batch_size: 60, cyclic_batch_size: 60}
  allocate: {epochs: 4, batch_size: 60, milestones: [2], warmup: 1}
grid:
  seed: [0, 1]
  method:
    - {name: cross-entropy}
    - {name: curvenet, meta_batch_size: 32, removed_losses: 1}
"""
CELLS, PROBES = 4, 2
STORAGE = f"{SHARED}/results"
# The same with final trainings of about a minute on a core, for faults in the middle of a cell.
LONG = SPACE.replace("allocate: {epochs: 4,", "allocate: {epochs: 150,")


def arguments(
    bed: Bed, *options: str, head: str | None, storage: str = STORAGE, text: str = SPACE
) -> list[str]:
    """Return `curvetune grid` on the cluster of `head`; without one, on the host itself."""
    space = bed.shared / ("tiny.yaml" if text == SPACE else "long.yaml")
    space.write_text(text, encoding="utf-8")
    address = [] if head is None else ["--address", bed.at(head)]
    where = [f"{SHARED}/{space.name}", "--storage", storage, *address]
    return ["curvetune", "grid", *where, "--checkpoint-every", "2", "--json", *options]


def run_grid(
    bed: Bed,
    driver: str,
    *options: str,
    head: str | None,
    storage: str = STORAGE,
    text: str = SPACE,
    timeout_s: float = 150.0,
) -> Outcome:
    """Run the grid from host `driver` to its end."""
    words = arguments(bed, *options, head=head, storage=storage, text=text)
    return bed.run(driver, *words, timeout_s=timeout_s)


def start_grid(
    bed: Bed,
    driver: str,
    *options: str,
    head: str | None,
    storage: str = STORAGE,
    text: str = SPACE,
) -> Process:
    """Start the grid from host `driver`."""
    return bed.start(driver, *arguments(bed, *options, head=head, storage=storage, text=text))


def assert_same(storage: Path, laptop: Path) -> None:
    """Fail unless a storage has, bit for bit, the results of another, and no other ones."""
    found, expected = grids.contents(storage), grids.contents(laptop)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def holders(storage: Path, kind: str = "cells") -> dict[str, str]:
    """Return the host that holds each cell that was begun, or held it last."""
    found = {}
    for folder in sorted((storage / kind).glob("*")):
        leases = sorted(folder.glob("lease-*.json"))
        for path in leases[-1:]:
            try:
                found[folder.name] = str(json.loads(path.read_text())["host"])
            except (OSError, ValueError):  # being written, or taken over at this moment
                continue
    return found


def epochs(storage: Path, kind: str = "cells") -> dict[str, int]:
    """Return how many epochs the history of each cell has."""
    paths = (storage / kind).glob("*/history.jsonl")
    return {path.parent.name: path.read_bytes().count(b"\n") for path in paths}


def in_middle(storage: Path, host: str, at_least: int = 10) -> str | None:
    """Return a cell that `host` is in the middle of its final training of."""
    running = epochs(storage)
    for cell, holder in holders(storage).items():
        is_done = (storage / "cells" / cell / "DONE.json").exists()
        if holder == host and not is_done and running.get(cell, 0) >= at_least:
            return cell
    return None


def outputs(answer: str) -> dict[str, Any]:
    """Return the JSON of `--json`, among whatever else was printed."""
    lines = answer.splitlines()
    starts = [k for k, line in enumerate(lines) if line == "{"]
    return dict(json.loads("\n".join(lines[starts[-1] :])))
