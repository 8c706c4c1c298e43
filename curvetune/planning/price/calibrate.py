"""Measures epochs that no earlier cell has: `plan --calibrate`.

A short form of a cell goes through the same `run_cell` as every trial, in the process of the
command, which hands it in: so planning needs no PyTorch. The storage is thrown away. Two epochs of
each kind are run (of both batch sizes of a probe; before and after the first drop of the learning
rate), of which the second counts.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curvetune.config import CellConfig, Section
from curvetune.data.source import Dataset
from curvetune.planning.plan import Plan, PlannedCell
from curvetune.planning.price.evidence import Phase, Sample, phase_of_final, phases_of_probe
from curvetune.planning.price.price import Price
from curvetune.store import CellStore, CurveStore
from curvetune.store.history import read_rows
from curvetune.store.names import HISTORY

STEPS = {"cuda": 64, "cpu": 16}  # of an epoch
EACH = 2  # epochs of a kind: in the first, libraries and graphs get ready
OWN_BASES = ("same", "calibrated")  # that a short run would not better


@dataclass(frozen=True)
class ShortRun:
    """What short runs are made with.

    Args:
        kind: of the device, cuda or cpu.
        device: its name, as results have it.
        run: runs a cell in a storage.
        size_of: the samples that a cell would train on.
    """

    digest: str
    dataset: Dataset
    kind: str
    device: str
    run: Callable[[CellConfig, Path], object]
    size_of: Callable[[CellConfig], int]

    def measure(self, cell: CellConfig, storage: Path) -> list[Sample]:
        """Run a short form of `cell` in `storage`; return what its epochs took."""
        short = short_form(cell, self.size_of(cell), STEPS[self.kind], self.dataset)
        self.run(short, storage)
        samples = [self._final(cell, short, storage), *self._probe(short, storage)]
        return [sample for sample in samples if sample.seconds > 0]

    def _final(self, cell: CellConfig, short: CellConfig, storage: Path) -> Sample:
        rows = read_rows(CellStore(storage).folder(short.cell_id(self.digest)) / HISTORY)
        share = _share_of_first(cell)
        first, last = (float(rows[k]["seconds"]) for k in (EACH - 1, len(rows) - 1))
        options = phase_of_final(cell, 1)[0].options  # those of the short form may be others
        (phase,) = phase_of_final(short, self.size_of(short))
        seconds = share * first + (1 - share) * last
        return self._sample(replace(phase, options=options), seconds)

    def _probe(self, short: CellConfig, storage: Path) -> Iterator[Sample]:
        recipe, probe_id = short.probe_recipe, short.probe_id(self.digest)
        if recipe is None or probe_id is None:
            return
        rows = read_rows(CurveStore(storage).folder(probe_id) / HISTORY)
        data, model = short.data.model_dump(), short.model.model_dump()
        last = -1
        for phase in phases_of_probe(data, model, recipe.model_dump(), self.size_of(short)):
            last += phase.epochs
            yield self._sample(phase, float(rows[last]["seconds"]))

    def _sample(self, phase: Phase, seconds: float) -> Sample:
        now = time.time()
        return Sample(phase, self.device, seconds, 1, now, calibrated=True)


def calibrate(
    cells: Sequence[CellConfig], short_run: ShortRun, tell: Callable[[str], object]
) -> list[Sample]:
    """Return what short runs of `cells` took; one that fails is told of, and left out."""
    found: list[Sample] = []
    with tempfile.TemporaryDirectory() as storage:
        for cell in cells:
            began = time.monotonic()
            try:
                found += short_run.measure(cell, Path(storage))
            except Exception as error:  # whatever it is, the other kinds can be measured
                tell(f"{cell.method.name}: not measured: {type(error).__name__}: {error}")
            else:
                tell(f"{cell.method.name}: measured in {time.monotonic() - began:.0f} s")
    return found


def cells_to_measure(plan: Plan, price: Price) -> list[CellConfig]:
    """Return one cell of each kind of which an epoch was not measured yet."""
    kinds: dict[Any, CellConfig] = {}
    for cell in plan.left:
        bases = [price.cells[cell.cell_id].basis]
        if (probe := price.probes.get(cell.probe_id or "")) is not None:
            bases.append(probe.basis)
        if any(basis not in OWN_BASES for basis in bases):
            kinds.setdefault(_kind(cell), cell.config)
    return list(kinds.values())


def short_form(cell: CellConfig, samples: int, steps: int, dataset: Dataset) -> CellConfig:
    """Return a cell of the same kind with few epochs of few steps.

    Its test set shrinks as its training set does, so that evaluation has the same share.
    """
    kept = min(samples, steps * cell.allocate.batch_size)
    test = min(len(dataset.test), cell.data.test_limit or len(dataset.test))
    short: dict[str, Section] = {
        "data": cell.data.model_copy(
            update={"train_limit": kept, "test_limit": max(1, round(test * kept / samples))}
        ),
        "bias": cell.bias.model_copy(update={"imbalance": 1.0}),  # so that no class is empty
        "allocate": cell.allocate.model_copy(
            update={
                "epochs": 2 * EACH if cell.allocate.milestones else EACH,
                "warmup": 0,
                "milestones": (EACH,) if cell.allocate.milestones else (),
                "gamma": 0.1,
            }
        ),
        "probe": cell.probe.model_copy(
            update={**_two_parts(cell.probe.cyclic_start, cell.probe.epochs), "half_period": 1}
        ),
    }
    changed = cell.model_copy(update={**short, "method": cell.method.for_two_epochs(EACH)})
    return CellConfig.model_validate(changed.model_dump())


def _share_of_first(cell: CellConfig) -> float:
    """Return the share of a cell's epochs that are like the first that is measured."""
    return cell.method.slow_epochs(cell.allocate) / cell.allocate.epochs


def _two_parts(start: int, epochs: int) -> dict[str, int]:
    """Return the epochs of a probe and where its second part begins, if it has both parts."""
    total = 2 * EACH  # also of one part: CurveNet needs a curve
    return {"epochs": total, "cyclic_start": min(start, EACH) if start < epochs else total}


def _kind(cell: PlannedCell) -> Any:
    """Return what decides how long a step of a cell takes, and of its probe."""
    config, recipe = cell.config, cell.config.probe_recipe
    sizes = () if recipe is None else tuple({recipe.batch_size_at(k) for k in range(recipe.epochs)})
    (phase,) = phase_of_final(config, 1)
    return replace(phase, epochs=1, samples=1, test=0), type(recipe).__name__, tuple(sorted(sizes))
