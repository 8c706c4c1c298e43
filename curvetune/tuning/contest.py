"""Methods that are tuned alike, and the cells of their trials. Pure: nothing is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from curvetune.config import CellConfig
from curvetune.config.load import validate
from curvetune.config.tunable import Ranges
from curvetune.errors import ConfigError
from curvetune.planning.more_seeds import with_seed
from curvetune.planning.space import Space
from curvetune.tuning.trials import Options

Search = Literal["random", "grid", "optuna"]
Scheduler = Literal["none", "asha"]
Validation: TypeAlias = float | Literal["clean"]
SEARCH, TEST = "tuning", "tuned"  # what the grids of a tuning end with
LONGEST = 128  # characters of a grid's name
REDUCTION = 3  # eta of asha: one in so many goes on
MOST_TRIALS = 1000  # of a method, where time is the budget


@dataclass(frozen=True)
class Budget:
    """Of each method: trials, the most there may be; and seconds of devices, if these decide."""

    trials: int
    seconds: float | None = None


@dataclass(frozen=True)
class Tuned:
    """A method of the space: its cells with its own options there, which are its default."""

    method: str
    cells: tuple[CellConfig, ...]  # one for each setting and seed
    ranges: Ranges

    def with_options(self, options: Options) -> tuple[CellConfig, ...]:
        """Return its cells with these options in place of the default's.

        Raises:
            ConfigError: the method cannot have them.
        """
        return tuple(_with_options(cell, options) for cell in self.cells)

    def told(self, options: Options) -> str:
        """Return the options of a trial in words."""
        return ", ".join(f"{key}={value}" for key, value in options.items()) or "default"


@dataclass(frozen=True)
class Tuning:
    """What is tuned, by which search.

    Args:
        space: whose cells are those of the methods, with no trial's options.
        digest: of the data's content.
        validation: what trials are judged on, as `data.validation`.
        seed: of the search.
        budget: trials of each method, at most.
        test_seeds: with how many fresh seeds winners and defaults are tested.
        scheduler: what stops trials early.
        reduction: one in so many of its trials goes on.
        seconds: of devices that each method may use; None if trials alone count.
    """

    space: Space
    digest: str
    methods: tuple[Tuned, ...]
    search: Search
    budget: int
    validation: Validation
    seed: int
    test_seeds: int
    scheduler: Scheduler = "none"
    reduction: int = REDUCTION
    seconds: float | None = None

    def identity(self, tuned: Tuned) -> dict[str, Any]:
        """Return what the search of a method is of; more trials of it are the same search.

        A scheduler decides nothing of what is proposed, unless that follows from what was found.
        """
        early = {"scheduler": self.scheduler, "reduction": self.reduction}
        has_seen = self.search == "optuna" and self.scheduler != "none"
        return {
            "method": tuned.method,
            "search": self.search,
            "seed": self.seed,
            "ranges": {option: found.to_json() for option, found in tuned.ranges.items()},
            "cells": [cell.cell_id(self.digest) for cell in self.trial(tuned, {})],
            **(early if has_seen else {}),
        }

    def trial(self, tuned: Tuned, options: Options) -> tuple[CellConfig, ...]:
        """Return the cells of a trial, which never read the test set."""
        return tuple(self._validated(cell) for cell in tuned.with_options(options))

    def test(self, tuned: Tuned, options: Options) -> tuple[CellConfig, ...]:
        """Return the cells that test these options: all training data, and fresh seeds."""
        cells = [
            with_seed(cell, seed)
            for cell in tuned.with_options(options)
            for seed in self.fresh_seeds
        ]
        return tuple({cell.model_dump_json(): cell for cell in cells}.values())

    @property
    def fresh_seeds(self) -> range:
        """Seeds that no trial has."""
        first = 1 + max(cell.seed for cell in self.space.cells)
        return range(first, first + self.test_seeds)

    def named(self, ending: str) -> str:
        """Return what one of its grids is called."""
        return f"{self.space.name}-{ending}"

    def _validated(self, cell: CellConfig) -> CellConfig:
        raw = cell.model_dump()
        raw["data"]["validation"] = self.validation
        return validate(raw, CellConfig, f"--validate-on {self.validation}")


def tuned_methods(cells: Sequence[CellConfig]) -> tuple[Tuned, ...]:
    """Return the methods of a space with their cells.

    Raises:
        ConfigError: a method is there with several options, or the cells are to be validated
            already.
    """
    found: dict[str, list[CellConfig]] = {}
    for cell in cells:
        found.setdefault(cell.method.name, []).append(cell)
        if cell.data.validation is not None:
            raise ConfigError(
                f"data.validation={cell.data.validation}: tune sets it for its trials, and tests "
                f"without it; leave it out, and say --validate-on {cell.data.validation}"
            )
    for name, own in found.items():
        points = {cell.model_copy(update={"method": own[0].method}) for cell in own}
        if len(points) < len(own):
            raise ConfigError(
                f"{name}: the space has it with several options, and tune begins with one: choose "
                f"with --set, or with another space"
            )
    return tuple(Tuned(name, tuple(own), own[0].method.tunable) for name, own in found.items())


def check_name(name: str) -> None:
    """Refuse a name that leaves no room for those of the grids.

    Raises:
        ConfigError: it is too long.
    """
    most = LONGEST - len(SEARCH) - 1
    if len(name) > most:
        raise ConfigError(
            f"{name}: its grids are called NAME-{SEARCH} and NAME-{TEST}, so allowed are {most} "
            f"characters; give a shorter one with --name"
        )


def _with_options(cell: CellConfig, options: Options) -> CellConfig:
    if not options:
        return cell
    raw = cell.model_dump()
    raw["method"] = {**raw["method"], **options}
    words = ", ".join(f"{key}={value}" for key, value in options.items())
    return validate(raw, CellConfig, f"a trial of {cell.method.name} ({words})")
