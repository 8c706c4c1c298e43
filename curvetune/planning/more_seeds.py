"""The cells of two methods of a grid with more seeds than it has."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from curvetune.config import CellConfig
from curvetune.config.fingerprint import fingerprint
from curvetune.errors import ConfigError, nearest, printable
from curvetune.planning.plan import recorded_cell
from curvetune.planning.recorded import profile_of

LONGEST = 128  # characters of a grid's name


@dataclass(frozen=True)
class Duel:
    """Two methods in the settings that both have."""

    name: str  # of the grid that their cells make up
    digest: str
    a: str
    b: str
    of_a: tuple[CellConfig, ...]  # one for each setting
    of_b: tuple[CellConfig, ...]
    methods: int  # how many the grid has
    profiles: tuple[str, ...]  # of the grid
    data_dir: str | None  # where the grid's command had its images
    on_bad: str | None

    def cells(self, seed: int) -> tuple[tuple[CellConfig, ...], tuple[CellConfig, ...]]:
        """Return the cells of both methods with a seed, setting by setting."""
        one, two = ([with_seed(cell, seed) for cell in cells] for cells in (self.of_a, self.of_b))
        return tuple(one), tuple(two)

    def seeds(self) -> Iterator[int]:
        """Yield the seeds in the order in which they count, without an end.

        It is the same whatever seeds the grid has, or gets later: else a choice of seeds would
        choose the verdict.
        """
        yield from count()

    def until(self, num_seeds: int, *, begin: int = 0) -> tuple[CellConfig, ...]:
        """Return all cells of so many seeds, but those of the first `begin` seeds."""
        chosen = islice(self.seeds(), begin, num_seeds)
        return tuple(cell for seed in chosen for cells in self.cells(seed) for cell in cells)


def duel_of(
    grid: str,
    record: Mapping[str, Any],
    labels: Sequence[str],
    settings: Sequence[Any],
    a: str,
    b: str,
) -> Duel:
    """Return two methods of a recorded grid.

    Args:
        record: the content of grids/<name>.json.
        labels: of the record's cells, which tell methods apart.
        settings: of the record's cells.

    Raises:
        ConfigError: the grid has no such method, both are one, or they have no setting in common.
    """
    known = list(dict.fromkeys(labels))
    for label in (a, b):
        if label not in known:
            raise ConfigError(
                f"{printable(label)!r} is no method of grid {grid}{nearest(label, known)}; it has: "
                f"{', '.join(known)}"
            )
    if a == b:
        raise ConfigError(f"{a!r} is compared with itself; give two methods: {', '.join(known)}")
    digest, command = str(record["data_digest"]), str(record.get("command", ""))
    found: dict[str, dict[Any, CellConfig]] = {a: {}, b: {}}
    for entry, label, setting in zip(record["cells"], labels, settings, strict=True):
        if label in found:
            cell = recorded_cell(entry, digest, grid, command)
            found[label].setdefault(setting, cell)
    made = record.get("made") or {}
    both = [setting for setting in found[a] if setting in found[b]]
    if not both:
        raise ConfigError(f"{a} and {b} have no setting of grid {grid} in common")
    return Duel(
        name=duel_name(grid, a, b),
        digest=digest,
        a=a,
        b=b,
        of_a=tuple(found[a][setting] for setting in both),
        of_b=tuple(found[b][setting] for setting in both),
        methods=len(known),
        profiles=tuple(record.get("profiles", ())) or (profile_of(record),),
        data_dir=made.get("data_dir"),
        on_bad=made.get("on_bad"),
    )


def duel_name(grid: str, a: str, b: str) -> str:
    """Return what the grid of two methods is called."""
    whole = f"{grid}-{a}-against-{b}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", whole).strip("-")
    if plain == whole and len(whole) <= LONGEST:
        return whole
    ending = f"-{fingerprint({'grid': grid, 'a': a, 'b': b})[:8]}"  # others may look like this
    return plain[: LONGEST - len(ending)] + ending


def with_seed(cell: CellConfig, seed: int) -> CellConfig:
    """Return a cell with another seed."""
    return cell.model_copy(update={"seed": seed})
