"""What was found: each method tuned against its default, and how the search came along."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from curvetune.grids.stamps import stamp
from curvetune.system.tables import Column, Table, print_table
from curvetune.system.units import duration
from curvetune.tuning.contest import MOST_TRIALS, SEARCH, TEST, Tuning
from curvetune.tuning.outcomes import rungs_of
from curvetune.tuning.scores import Result, Searched

if TYPE_CHECKING:
    from rich.console import Console

NONE = "–"


def print_results(tuning: Tuning, results: Sequence[Result], console: "Console") -> None:
    """Print a row for each method, and what the numbers are."""
    columns = [
        Column("method", is_key=True, is_left=True),
        Column("trials"),
        *([Column("whole")] if tuning.scheduler != "none" else []),
        *([Column("device\ntime")] if tuning.seconds is not None else []),
        Column("validation\ndefault"),
        Column("validation\nbest"),
        Column("test\ndefault"),
        Column("test\ntuned"),
        Column("tuned −\ndefault"),
        Column("interval"),
        Column("p"),
        Column("found", is_left=True, is_prose=True),
    ]
    said = stamp((tuning.space.profile,))
    title = tuning.named(TEST) + f" ({said})" * bool(said)
    console.print(title, style="bold", highlight=False, soft_wrap=True)
    print_table(Table(columns, [_row(tuning, result) for result in results]), console)
    for line in notes(tuning, results):
        console.print(line, highlight=False, soft_wrap=True)


def notes(tuning: Tuning, results: Sequence[Result]) -> list[str]:
    """Return what a reader of the table must know, a sentence each."""
    seeds = tuning.fresh_seeds
    lines = [
        f"Accuracies in percent. The test is with seeds {seeds[0]} to {seeds[-1]}, which no trial "
        f"had, on all training samples.",
        "p is over pairs of a setting and a seed, corrected after Holm for the methods.",
    ]
    searched = [one.searched for one in results]
    lines += [line for one in searched if (line := _fewer(tuning, one)) is not None]
    lines += [
        f"{one.tuned.method} declares no range: its default ran once."
        for one in searched
        if not one.tuned.ranges and tuning.budget > 1
    ]
    if tuning.scheduler != "none":
        lines += [
            f"{one.tuned.method}: {rungs_words(rungs_of(tuning, one.tuned), tuning.reduction)}."
            for one in searched
            if one.tuned.ranges
        ]
        lines.append("What is best is among the trials that ran to their end, which are whole.")
    return lines


def rungs_words(rungs: Sequence[Sequence[int]], reduction: int) -> str:
    """Return at which epochs trials are judged."""
    *early, whole = (list_words(dict.fromkeys(rung)) for rung in rungs)
    if not early:
        few = "1 epoch is" if whole == "1" else f"{whole} epochs are"
        return f"{few} too few to stop a trial early, so each is whole"
    return (
        f"trials are judged after {' and '.join(early)} of {whole} epochs; one in {reduction} "
        f"goes on"
    )


def list_words(values: Iterable[int]) -> str:
    """Return numbers that cells differ in, as 2/4."""
    return "/".join(map(str, values))


def _fewer(tuning: Tuning, one: Searched) -> str | None:
    """Say why a method with ranges had less than its budget; None if it had all of it."""
    if not one.tuned.ranges:
        return None
    said = f"{one.tuned.method}: {one.distinct} different trials"
    if tuning.seconds is None:
        is_less = one.distinct < tuning.budget
        return f"{said}, which is less than the budget of {tuning.budget}." if is_less else None
    if one.seconds >= tuning.seconds:
        return None
    return (
        f"{said} used {duration(one.seconds)} of {duration(tuning.seconds)}: its ranges have no "
        f"more, or {MOST_TRIALS} were had."
    )


def results_json(tuning: Tuning, results: Sequence[Result]) -> dict[str, Any]:
    """Return the table for `--json`."""
    return {
        "schema_version": 1,
        "grid": tuning.named(TEST),
        "profile": tuning.space.profile,
        "search": tuning.search,
        "search_seed": tuning.seed,
        "scheduler": tuning.scheduler,
        "reduction": None if tuning.scheduler == "none" else tuning.reduction,
        "budget": tuning.budget if tuning.seconds is None else None,
        "budget_seconds": tuning.seconds,
        "validation": tuning.validation,
        "test_seeds": [*tuning.fresh_seeds],
        "methods": [result.to_json() for result in results],
    }


def figure_file(tuning: Tuning, searched: Sequence[Searched], form: str) -> bytes:
    """Return the figure of the search as the content of a file, svg or png."""
    from curvetune.report.figures.search import search_curves
    from curvetune.report.figures.style import file_of, stamped

    best = {one.tuned.method: one.best_so_far for one in searched}
    figure = search_curves(best, tuning.named(SEARCH))
    return file_of(stamped(figure, stamp((tuning.space.profile,))), form)


def _row(tuning: Tuning, result: Result) -> list[str]:
    one, paired = result.searched, result.paired
    interval, p = NONE, NONE
    if paired is not None and paired.interval is not None:
        interval = "{:+.2f} to {:+.2f}".format(*paired.interval)
    if paired is not None and paired.p_holm is not None:
        p = f"{paired.p_holm:.3f}"
    difference = None if paired is None else paired.difference
    return [
        one.tuned.method,
        str(len(one.trials)),
        *([str(one.ended)] if tuning.scheduler != "none" else []),
        *([duration(one.seconds)] if tuning.seconds is not None else []),
        _number(one.trials[0].accuracy),
        _number(one.winner.accuracy),
        _number(result.default),
        _number(result.tuned),
        NONE if difference is None else f"{difference:+.2f}",
        interval,
        p,
        one.tuned.told(one.winner.options),
    ]


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
