"""How many bytes a grid will write, and whether there is room for them.

Sizes are computed, not guessed: `tests/planning/test_price.py` compares them with what cells leave.
Not counted are MLflow's database, and what Ray writes to the folder of temporary files.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curvetune.config import CellConfig
from curvetune.planning.plan import Plan, PlannedCell
from curvetune.system.mounts import existing

# Files of a classifier for 10 classes, in bytes, with the names of its tensors; float32.
MODEL_BYTES = {
    "resnet8": 312_500,
    "resnet20": 1_107_000,
    "resnet32": 1_902_000,
    "wrn-16-8": 43_892_000,
}
FEATURES = {"wrn-16-8": 512}  # that the last layer sees; 64 of the others
SAMPLE_BYTES = 8  # loss and weight of a training sample
RECORDED_BYTES = 6  # of a sample and epoch in a probe: its loss, and its margin in 16 bits
INDEX_BYTES = 8  # of an image in a split: its place, its given and its true label
ROW_BYTES = 250  # of an epoch in a history, at most
RECORD_BYTES = 4_000  # config.json, DONE.json or manifest.json
HEADER_BYTES = 1_000  # of an array file
# A checkpoint has the classifier and its momentum, twice for co-teaching; a method's own network
# and its state are below this (cleannet: 1.5 MB). Its rows are written out, and longer there.
CHECKPOINT_MODELS = 4
NETWORK_MODELS = 3  # of each network that is tested: its weights, momentum and average
CHECKPOINT_OWN_BYTES = 1_600_000
CHECKPOINT_ROW_BYTES = 500
COPIES = 2  # of a checkpoint while a new one replaces the old


@dataclass(frozen=True)
class Disk:
    """Bytes by what they are for. Checkpoints are there only while cells run: the most at once."""

    curves: int
    models: int
    samples: int
    histories: int
    splits: int
    checkpoints: int
    free: int | None = None

    @property
    def stays(self) -> int:
        """What the results take."""
        return self.curves + self.models + self.samples + self.histories + self.splits

    @property
    def needed(self) -> int:
        """What has to be free."""
        return self.stays + self.checkpoints

    @property
    def fits(self) -> bool | None:
        """Whether it is; None if nobody knows."""
        return None if self.free is None else self.needed <= self.free

    def to_json(self) -> dict[str, Any]:
        """Return all of it, in bytes."""
        parts = {f"{name}_bytes": size for name, size in asdict(self).items()}
        return {"needed_bytes": self.needed, **parts, "fits": self.fits}


def disk_of(
    plan: Plan,
    size_of: Callable[[CellConfig], int],
    *,
    classes: int,
    images: int,
    slots: int,
    free: int | None,
    networks: Mapping[str, int] | None = None,
) -> Disk:
    """Return what the cells that `plan` has left will write.

    Args:
        size_of: the samples that a cell trains on.
        classes: K.
        images: of the meta and the test set, at most.
        slots: cells at once.
        free: bytes where the storage is.
        networks: bytes of a classifier of each network that is of a plugin.
    """
    model = _Models(classes, networks or {})
    left = [(cell, size_of(cell.config)) for cell in plan.left]
    wanted = {probe.probe_id for probe in plan.probes if probe.state == "to run"}
    probes = {cell.probe_id: (cell, n) for cell, n in left if cell.probe_id in wanted}
    splits = {cell.config.split_id(plan.digest): n for cell, n in left}
    runs = len(left) + len(probes)
    return Disk(
        curves=sum(_curves(cell, n) for cell, n in probes.values()),
        models=sum(cell.config.method.networks * model(cell) for cell, _ in left)
        + sum(model(cell) for cell, _ in probes.values()),
        samples=sum(SAMPLE_BYTES * n + HEADER_BYTES for _, n in left),
        histories=ROW_BYTES * _epochs(left, probes.values()) + RECORD_BYTES * runs,
        splits=sum(INDEX_BYTES * (3 * n + images) + HEADER_BYTES for n in splits.values()),
        checkpoints=_checkpoints(left, probes.values(), model, slots),
        free=free,
    )


def free_bytes(storage: Path) -> int | None:
    """Return what is free where `storage` is or would be; None if nobody knows."""
    try:
        return shutil.disk_usage(existing(storage)).free
    except OSError:
        return None


Sized = Iterable[tuple[PlannedCell, int]]


def _curves(cell: PlannedCell, n: int) -> int:
    recipe = cell.config.probe_recipe
    return 0 if recipe is None else RECORDED_BYTES * n * recipe.epochs + 2 * HEADER_BYTES


@dataclass(frozen=True)
class _Models:
    """The size of a cell's classifier."""

    classes: int
    networks: Mapping[str, int]

    def __call__(self, cell: PlannedCell) -> int:
        name = cell.config.model.name
        known = self.networks.get(name)
        return model_bytes(name, self.classes) if known is None else known


def model_bytes(name: str, classes: int) -> int:
    """Return the size of a classifier's file: each class more has its weights and a bias."""
    return MODEL_BYTES[name] + 4 * (FEATURES.get(name, 64) + 1) * max(0, classes - 10)


def _epochs(left: Sized, probes: Sized) -> int:
    final = sum(cell.config.final_recipe.epochs for cell, _ in left)
    recipes = [cell.config.probe_recipe for cell, _ in probes]
    return final + sum(recipe.epochs for recipe in recipes if recipe is not None)


def _checkpoints(left: Sized, probes: Sized, model: _Models, slots: int) -> int:
    """Return the most that checkpoints take at once: those of the largest runs."""
    sizes = [_checkpoint(cell, n, cell.config.final_recipe.epochs, model) for cell, n in left]
    for cell, n in probes:
        recipe = cell.config.probe_recipe
        epochs = 0 if recipe is None else recipe.epochs
        sizes.append(_checkpoint(cell, n, epochs, model) + _curves(cell, n))
    return COPIES * sum(sorted(sizes, reverse=True)[:slots])


def _checkpoint(cell: PlannedCell, n: int, epochs: int, model: _Models) -> int:
    models = max(CHECKPOINT_MODELS, NETWORK_MODELS * cell.config.method.networks)
    state = models * model(cell) + CHECKPOINT_OWN_BYTES
    return state + SAMPLE_BYTES * n + CHECKPOINT_ROW_BYTES * epochs
