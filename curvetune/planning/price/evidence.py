"""How long epochs took that a storage has seen, and what that says of epochs to come.

The model is one number, the seconds of a *unit*: one step of cross entropy with this batch size, on
this kind of device, with this classifier and these images. A step of a method counts as its `cost`
(config/), and what is evaluated after an epoch as a third of training on it: one forward pass of
a step's three. The number is the median of earlier epochs that were most like those to come, in
this order: of the same method with the same options, of a short run of it (`plan --calibrate`), of
the method with other options, of cross entropy. Without any of these nobody knows, and says so.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from curvetune.config import METHOD_SECTIONS, CellConfig
from curvetune.config.data import TABLE_SIZES
from curvetune.config.fingerprint import canonical
from curvetune.errors import CurvetuneError, printable
from curvetune.store.history import read_rows

PROBE = "probe"
CROSS_ENTROPY = frozenset({PROBE, "cross-entropy"})
NEWEST = 9  # measurements in a median: enough for a stable one, and little to read
FORWARD = 1 / 3  # of a step of cross entropy: a backward pass counts as two forward passes
TEST_IMAGES = {"digits": 500, "cifar10": 10_000, "cifar100": 10_000}  # else not counted

BASES = ("same", "calibrated", "method", "cross-entropy")  # best first


@dataclass(frozen=True)
class Phase:
    """Epochs of one kind: those of a run that have one batch size."""

    data: str  # and image size, if that is an option
    model: str  # and precision, if it is not float32
    batch_size: int
    method: str  # PROBE for a probe, whatever its recipe
    options: str  # of the method, as canonical JSON
    epochs: int
    samples: int  # visited in an epoch
    test: int  # images that are evaluated after each epoch

    def __post_init__(self) -> None:
        """Refuse what no run can be, wherever it was read.

        Raises:
            ValueError: there are no epochs, samples or batches.
        """
        if min(self.epochs, self.samples, self.batch_size) < 1 or self.test < 0:
            raise ValueError(f"not a phase of a run: {self}")

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.samples / self.batch_size)

    @functools.cached_property
    def units(self) -> float:
        """Steps of cross entropy that take as long as an epoch."""
        section = METHOD_SECTIONS.get(self.method)
        cost = 1.0 if section is None else float(section.cost)
        return self.steps * cost + FORWARD * self.test / self.batch_size


@dataclass(frozen=True)
class Sample:
    """A measured phase.

    Args:
        seconds: of an epoch, over the number of cells that shared the device.
        workers: how many these were.
        time: when it was measured, in Unix seconds.
    """

    phase: Phase
    device: str
    seconds: float
    workers: int
    time: float
    calibrated: bool = False

    def __post_init__(self) -> None:
        """Refuse a time that is none; raises ValueError."""
        positive(self.seconds)
        positive(self.workers)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Sample":
        """Return what `to_json` made; raises ValueError, TypeError or KeyError for others."""
        device = printable(content["device"])
        return cls(**{**content, "device": device, "phase": Phase(**content["phase"])})


@dataclass(frozen=True)
class Estimate:
    """What an epoch, or a run, is expected to take of a device; None where nobody knows.

    Args:
        basis: one of BASES, the worst of its parts; None without a number.
        measured: how many measurements it rests on, the fewest of its parts.
    """

    seconds: float | None
    basis: str | None = None
    measured: int = 0


@dataclass(frozen=True)
class Earlier:
    """A phase of a run that is done; its history is read only if somebody asks how long it took.

    Args:
        first: the first epoch of the phase.
        total: seconds of the whole run, for one that came without its history.
    """

    phase: Phase
    device: str
    workers: int
    time: float
    history: Path
    first: int = 0
    total: float | None = None
    calibrated: bool = False

    @functools.cached_property
    def unit_seconds(self) -> float | None:
        """Seconds of a unit; None if nobody wrote them down."""
        seconds = mean_epoch(_seconds(self.history)[self.first : self.first + self.phase.epochs])
        if seconds is None and self.total is not None:
            seconds = self.total / self.phase.epochs
        if seconds is None:
            return None
        try:
            return positive(seconds) / self.phase.units / self.workers
        except ValueError:
            return None


class Evidence:
    """All that was measured, by what must agree: device, images, classifier, batch size."""

    def __init__(self, earlier: Iterable[Earlier] = (), samples: Iterable[Sample] = ()) -> None:
        """Take runs that are done, and short runs."""
        self._seen: dict[tuple[str, str, str, int], list[Earlier | Sample]] = {}
        every: list[Earlier | Sample] = [*earlier, *samples]
        for one in every:
            self._seen.setdefault(_key(one.device, one.phase), []).append(one)
        self._known: dict[tuple[Phase, str, int], Estimate] = {}

    def devices(self) -> dict[str, int]:
        """Return each kind of device with the number of its measurements, most first."""
        counts: dict[str, int] = {}
        for (device, *_), found in self._seen.items():
            counts[device] = counts.get(device, 0) + len(found)
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def of_run(self, phases: Sequence[Phase], device: str, workers: int = 1) -> Estimate:
        """Return what a run is expected to take of a device, start-up apart."""
        parts = [self.of_epoch(phase, device, workers) for phase in phases]
        known = [part.seconds for part in parts if part.seconds is not None]
        bases = [part.basis for part in parts if part.basis is not None]
        if not parts or len(known) < len(parts):
            return Estimate(None)
        total = sum(s * phase.epochs for s, phase in zip(known, phases, strict=True))
        return Estimate(total, max(bases, key=BASES.index), min(part.measured for part in parts))

    def of_epoch(self, phase: Phase, device: str, workers: int = 1) -> Estimate:
        """Return what an epoch is expected to take of a device that `workers` cells share."""
        asked = (phase, device, workers)
        if asked not in self._known:
            self._known[asked] = self._estimate(phase, device, workers)
        return self._known[asked]

    def _estimate(self, phase: Phase, device: str, workers: int) -> Estimate:
        seen = self._seen.get(_key(device, phase), [])
        for basis in BASES:
            like = [one for one in seen if _basis(one, phase) == basis]
            values = _nearest(like, phase, workers)
            if values:
                return Estimate(median(values) * phase.units, basis, len(values))
        return Estimate(None)


def phase_of_final(cell: CellConfig, samples: int) -> list[Phase]:
    """Return the one phase of a cell's final training on so many samples."""
    options = {k: v for k, v in cell.method.model_dump(mode="json").items() if k != "recipe"}
    total = TEST_IMAGES.get(cell.data.name, 0)
    return [
        Phase(
            data=_images(cell.data.model_dump()),
            model=_model(cell.model.model_dump()),
            batch_size=cell.allocate.batch_size,
            method=cell.method.name,
            options=canonical(options),
            epochs=cell.final_recipe.epochs,
            samples=samples,
            test=min(total, cell.data.test_limit or total),
        )
    ]


def phases_of_probe(
    data: Mapping[str, Any], model: Mapping[str, Any], recipe: Mapping[str, Any], samples: int
) -> list[Phase]:
    """Return the phases of a probe whose sections say this: one, or one for each batch size."""
    epochs, size = int(recipe["epochs"]), int(recipe["batch_size"])
    first = min(epochs, int(recipe.get("cyclic_start", epochs)))
    visited = samples // 2 if recipe.get("half") else samples
    sizes = [(size, first), (int(recipe.get("cyclic_batch_size", size)), epochs - first)]
    return [
        Phase(_images(data), _model(model), batch, PROBE, "", count, visited, 0)
        for batch, count in sizes
        if count
    ]


def positive(value: float) -> float:
    """Return a number that is finite and above 0; JSON files can say anything.

    Raises:
        ValueError: it is not.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{value} is not a finite number above 0")
    return value


def mean_epoch(seconds: Sequence[float]) -> float | None:
    """Return the mean of the epochs but the first, in which libraries and graphs get ready."""
    return fmean(seconds[1:] or seconds) if seconds else None


def _nearest(seen: Sequence[Earlier | Sample], phase: Phase, workers: int) -> list[float]:
    """Return the unit seconds of the newest among those most like `phase` in size and sharing."""

    def distance(one: Earlier | Sample) -> tuple[bool, float]:
        return one.workers != workers, abs(math.log(one.phase.steps / phase.steps))

    values: list[float] = []
    for near in sorted({distance(one) for one in seen}):
        group = sorted((o for o in seen if distance(o) == near), key=lambda one: -one.time)
        for one in group:
            if len(values) < NEWEST and (value := _unit_seconds(one)) is not None:
                values.append(value)
        if values:
            break
    return values


def _unit_seconds(one: Earlier | Sample) -> float | None:
    return one.seconds / one.phase.units if isinstance(one, Sample) else one.unit_seconds


def _basis(one: Earlier | Sample, phase: Phase) -> str | None:
    if one.phase.method == phase.method:
        if one.phase.options != phase.options:
            return "method"
        return "calibrated" if one.calibrated else "same"
    return "cross-entropy" if one.phase.method in CROSS_ENTROPY else None


def _key(device: str, phase: Phase) -> tuple[str, str, str, int]:
    return device, phase.data, phase.model, phase.batch_size


def _images(section: Mapping[str, Any]) -> str:
    """Return what tells the size of images that are trained on: of people's own, an option."""
    name = str(section["name"])
    if name != "folder" and name not in TABLE_SIZES:
        return name
    stored = section.get("image_size", TABLE_SIZES.get(name, 32))
    return f"{name} {section.get('crop_size') or stored}"


def _model(section: Mapping[str, Any]) -> str:
    precision = section.get("precision", "float32")
    return str(section["name"]) + ("" if precision == "float32" else f" {precision}")


@functools.lru_cache(maxsize=512)
def _seconds(path: Path) -> tuple[float, ...]:
    """Return the seconds of each epoch of a history; none of one that is missing or damaged."""
    try:
        return tuple(float(row["seconds"]) for row in read_rows(path))
    except (OSError, ValueError, KeyError, TypeError, CurvetuneError):
        return ()
