"""The options of `tune`: how methods are searched, and which files that writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from curvetune.errors import ConfigError, printable
from curvetune.places import Places

if TYPE_CHECKING:
    from curvetune.planning.selection import Selection
    from curvetune.tuning.contest import Budget, Scheduler, Search, Tuning, Validation

SHARE = 0.1  # of the training set that trials are judged on


@dataclass(frozen=True)
class Searching:
    """How every method is searched, and tested afterwards (tuning/contest.py)."""

    budget: "Budget"
    search: "Search"
    scheduler: "Scheduler"
    reduction: int
    seed: int
    validation: "Validation"
    test_seeds: int

    def of(self, selection: "Selection", places: Places) -> "tuple[Tuning, Places]":
        """Return what is tuned, and where its images are.

        Raises:
            ConfigError: the selection, its space or its data are not right.
        """
        from curvetune.tuning.plans import make_tuning

        return make_tuning(selection, places, **vars(self))


@dataclass(frozen=True)
class Written:
    """Files for people; None if nobody asked."""

    space: Path | None
    figure: Path | None


def searching(
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="N|TIME",
            help="Of each method: trials, of which the default is one; or time of a device, 30m.",
        ),
    ],
    search: Annotated[
        str, typer.Option("--search", metavar="NAME", help="random, grid or optuna.")
    ] = "random",
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler", metavar="NAME", help="none, or asha, which stops most trials early."
        ),
    ] = "none",
    reduction: Annotated[
        int | None,
        typer.Option("--reduction", metavar="N", help="Of asha: one trial in so many goes on; 3."),
    ] = None,
    search_seed: Annotated[
        int, typer.Option("--search-seed", metavar="N", min=0, help="Of the search alone.")
    ] = 0,
    validate_on: Annotated[
        str,
        typer.Option(
            "--validate-on",
            metavar="SHARE|clean",
            help="What trials are judged on: a share of the training set, noisy as it is; or half "
            "of the meta set.",
        ),
    ] = str(SHARE),
    test_seeds: Annotated[
        int,
        typer.Option("--test-seeds", metavar="N", help="Fresh seeds of the test at the end."),
    ] = 3,
) -> Searching:
    """How methods are searched.

    Raises:
        ConfigError: one of the texts means nothing.
    """
    from curvetune.tuning.budget import parse_budget

    early, eta = _scheduler(scheduler, reduction)
    return Searching(
        parse_budget(budget),
        _search(search),
        early,
        eta,
        search_seed,
        _validation(validate_on),
        test_seeds,
    )


def written(
    space_file: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE", help="Write the winners as a space for `grid`."),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="FILE",
            help="Draw the best trial so far of each method, as .svg or .png.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write FILE anew if it is there.")] = False,
) -> Written:
    """Which files are written.

    Raises:
        ConfigError: one cannot be, or is there already.
    """
    from curvetune.tuning.files import check_figure_file, check_space_file

    if space_file is not None:
        check_space_file(space_file, force=force)
    if figure is not None:
        check_figure_file(figure, force=force)
    return Written(space_file, figure)


def _search(text: str) -> "Search":
    from curvetune.tuning.contest import Search

    allowed: tuple[Search, ...] = get_args(Search)
    for name in allowed:
        if text == name:
            return name
    raise ConfigError(f"--search {printable(text)!r}: allowed are {', '.join(allowed)}")


def _scheduler(text: str, reduction: int | None) -> "tuple[Scheduler, int]":
    from curvetune.tuning.contest import REDUCTION, Scheduler

    allowed: tuple[Scheduler, ...] = get_args(Scheduler)
    name = next((name for name in allowed if text == name), None)
    if name is None:
        raise ConfigError(f"--scheduler {printable(text)!r}: allowed are {', '.join(allowed)}")
    if reduction is not None and name == "none":
        raise ConfigError(
            f"--reduction {reduction}: is of --scheduler asha; add that, or leave this out"
        )
    if reduction is not None and reduction < 2:
        raise ConfigError(f"--reduction {reduction}: allowed is at least 2; {REDUCTION} is usual")
    return name, reduction or REDUCTION


def _validation(text: str) -> "Validation":
    if text == "clean":
        return "clean"
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 0.5:
        raise ConfigError(
            f"--validate-on {printable(text)!r}: allowed are clean, which is half of the meta set, "
            f"or a share of the training set above 0 and at most 0.5: --validate-on {SHARE}"
        )
    return share
