"""What was found: each method tuned against its default, and how the search came along."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curvetune.grids.stamps import stamp
from curvetune.system.tables import Column, Table, print_table
from curvetune.tuning.contest import SEARCH, TEST, Tuning
from curvetune.tuning.scores import Result, Searched

if TYPE_CHECKING:
    from rich.console import Console

NONE = "–"


def print_results(tuning: Tuning, results: Sequence[Result], console: "Console") -> None:
    """Print a row for each method, and what the numbers are."""
    columns = [
        Column("method", is_key=True, is_left=True),
        Column("trials"),
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
    print_table(Table(columns, [_row(result) for result in results]), console)
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
    fewer = [one.searched for one in results if one.searched.distinct < tuning.budget]
    lines += [
        f"{one.tuned.method}: {one.distinct} different trials, which is less than the budget of "
        f"{tuning.budget}."
        for one in fewer
        if one.tuned.ranges
    ]
    lines += [
        f"{one.tuned.method} declares no range: its default ran once."
        for one in fewer
        if not one.tuned.ranges
    ]
    return lines


def results_json(tuning: Tuning, results: Sequence[Result]) -> dict[str, Any]:
    """Return the table for `--json`."""
    return {
        "schema_version": 1,
        "grid": tuning.named(TEST),
        "profile": tuning.space.profile,
        "search": tuning.search,
        "search_seed": tuning.seed,
        "budget": tuning.budget,
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


def _row(result: Result) -> list[str]:
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
