"""The ranges over which `curvetune tune` searches the options of a method.

A section declares them, each with where it is from:

    tunable: ClassVar[Ranges] = {
        "loss_power": Uniform(0.1, 1.0, "q is from 0, cross entropy, to 1"),
    }

A range has the option's default in it, so that what is found is never another family of methods.
Points of a range are asked for by a number u from 0 to 1, which whoever searches draws.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic.fields import FieldInfo

from curvetune.errors import ConfigError

DIGITS = 4  # of a value that is drawn: more say nothing, and are long in a table


@dataclass(frozen=True)
class Uniform:
    """Numbers between two ends, each as likely as another."""

    low: float
    high: float
    source: str

    def at(self, u: float) -> float:
        """Return the point at u, in [0, 1], of the range."""
        return self.rounded(self.low + u * (self.high - self.low))

    def has(self, value: Any) -> bool:
        """Say whether a value is in the range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def level(self, k: int) -> float | None:
        """Return the k-th value of a grid: both ends, the middle, the quarters and so on."""
        return self.at(halved(k))

    def to_json(self) -> dict[str, Any]:
        """Return what decides which values are drawn."""
        return {"kind": type(self).__name__, "low": self.low, "high": self.high}

    def words(self) -> str:
        """Return it for people."""
        return f"{self.low:g} to {self.high:g}"

    def rounded(self, value: float) -> float:
        """Return a value of the range with as many digits as are drawn."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Numbers above 0, whose logarithms are uniform."""

    def at(self, u: float) -> float:
        """Return the point at u, in [0, 1], of the range."""
        low, high = math.log(self.low), math.log(self.high)
        return self.rounded(math.exp(low + u * (high - low)))

    def words(self) -> str:
        """Return it for people."""
        return f"{super().words()}, log"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]
    source: str

    def at(self, u: float) -> Any:
        """Return the value at u, in [0, 1], of the range."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def has(self, value: Any) -> bool:
        """Say whether a value is one of them."""
        return value in self.values

    def level(self, k: int) -> Any:
        """Return the k-th value; None after the last."""
        return self.values[k] if k < len(self.values) else None

    def to_json(self) -> dict[str, Any]:
        """Return what decides which values are drawn."""
        return {"kind": "Choice", "values": [*self.values]}

    def words(self) -> str:
        """Return it for people."""
        return ", ".join(map(str, self.values))


Range: TypeAlias = Uniform | Choice
Ranges: TypeAlias = Mapping[str, Range]


def halved(k: int) -> float:
    """Return the k-th of 0, 1, 1/2, 1/4, 3/4, 1/8, …: each range halves what is between others."""
    if k < 2:
        return float(k)
    parts = 1 << (k - 1).bit_length()
    return (2 * (k - 1) + 1 - parts) / parts


def check_ranges(shown: str, ranges: Ranges, fields: Mapping[str, FieldInfo]) -> None:
    """Refuse ranges that are not of the options of a section, or exclude a default.

    Args:
        shown: what the section is called.
        fields: its options.

    Raises:
        ConfigError: one is not right.
    """
    for option, found in ranges.items():
        where = f"{shown}.tunable[{option!r}]"
        if option not in fields:
            raise ConfigError(f"{where}: there is no such option; allowed are {', '.join(fields)}")
        if not isinstance(found, Uniform | Choice):
            raise ConfigError(
                f"{where} is {found!r}; allowed are Uniform, LogUniform and Choice of "
                f"curvetune.plugins"
            )
        _check_ends(where, found)
        if not found.has(fields[option].default):
            raise ConfigError(
                f"{where} is {found.words()}, which excludes the default "
                f"{fields[option].default!r}; widen the range, or give another default"
            )


def _check_ends(where: str, found: Range) -> None:
    if isinstance(found, Choice):
        if len(found.values) < 2:
            raise ConfigError(f"{where} has {len(found.values)} values; a choice needs at least 2")
        return
    least = 0.0 if isinstance(found, LogUniform) else -math.inf
    if not least < found.low < found.high < math.inf:
        raise ConfigError(
            f"{where} is {found.words()}; the low end is below the high one"
            f"{', and above 0 where logarithms are drawn' * isinstance(found, LogUniform)}"
        )
