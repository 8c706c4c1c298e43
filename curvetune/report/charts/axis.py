"""Where values stand on an axis, and which of them have a label."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NICE = (1, 2, 2.5, 5, 10)  # steps between labels, times a power of ten
TICKS = 5  # that an axis has about
ROOM = 0.06  # of the span of the values, left free at both ends


@dataclass(frozen=True)
class Tick:
    """A label of an axis and where it stands, in the units of the drawing."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis: from the value `low` at `start` to the value `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where `value` stands."""
        low, high = self._turned(self.low), self._turned(self.high)
        share = (self._turned(value) - low) / ((high - low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, *, whole: bool = False) -> list[Tick]:
        """Return the labels of the axis; of whole numbers alone if so asked."""
        values = _log_ticks(self.low, self.high) if self.log else nice(self.low, self.high)
        shown = [value for value in values if not whole or value.is_integer()]
        return [Tick(self.at(value), f"{value:g}") for value in shown]

    def _turned(self, value: float) -> float:
        return math.log10(value) if self.log else value


def span(values: Sequence[float], *, at_least: float = 0.0) -> tuple[float, float]:
    """Return the ends of an axis that shows all finite `values`, with some room.

    Args:
        at_least: how far apart the ends are at least, so that noise is no cliff.
    """
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    wide = max(high - low, at_least, abs(high) * 1e-6, 1e-9)
    middle, half = (low + high) / 2, wide * (0.5 + ROOM)
    return middle - half, middle + half


def nice(low: float, high: float, count: int = TICKS) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * k for k in NICE if power * k >= raw * 0.75)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten; of less than a factor of three, round numbers."""
    if high / low < 3:
        return [value for value in nice(low, high) if value > 0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [k * 10.0**power for power in powers for k in (1, 2, 5)]
    return [value for value in found if low <= value <= high]
