"""`curvetune tune`: every method gets the same search, and is then tested once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.desk.searching import Searching, Written, searching, written
from curvetune.cli.groups import Choice, with_groups
from curvetune.cli.report import selected
from curvetune.cli.run import command_line, exit_for, signs, tell
from curvetune.places import Places, Telling
from curvetune.planning.resources import LaunchOptions

if TYPE_CHECKING:
    from curvetune.planning.plan import Plan
    from curvetune.run import Outcome
    from curvetune.tuning.contest import Tuning
    from curvetune.tuning.scores import Searched
    from curvetune.tuning.search import Ended


@with_groups(
    asked=searching,
    files=written,
    choice=groups.choice,
    places=groups.places,
    telling=groups.telling,
    launch=groups.launch,
)
def tune(
    space: o.Space,
    select: o.Select = "last",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is searched, and what it costs.")
    ] = False,
    *,
    asked: Searching,
    files: Written,
    choice: Choice,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Tune every method of SPACE alike, and test what was found against the default.

    Each method gets N trials, or as much TIME, over the ranges that it declares. A trial is one
    cell for each setting and seed of SPACE. It is judged on samples that are held out of training,
    never on the test set. At the end defaults and winners are trained on all samples, with fresh
    seeds, and tested.

    The same command goes on where it stopped. A larger budget adds trials (docs/tuning.md).
    """
    from curvetune.tuning.search import run_final, run_search

    chosen = selected(select)
    tuning, places = asked.of(choice.of(space), places)
    _tell_what_is_searched(tuning)
    if dry_run:
        _print_cost(tuning, places, launch, as_json=as_json)
        return

    def run(plan: "Plan") -> "Outcome":
        from curvetune.run import run_plan

        return run_plan(
            lambda: plan,
            places,
            telling,
            launch,
            command=command_line(),
            tell=tell,
            console=signs(),
        )[1]

    ended = run_search(tuning, places, run, tell, select=chosen)
    _exit_unless_whole(ended, places)
    _tell_of_diverged(ended.searched)
    if files.figure is not None:
        _draw(tuning, ended, files.figure)
    tell("the search has ended; now the test set is read for the first time")
    final = run_final(tuning, ended.searched, places, run, tell)
    _print(tuning, final, places, chosen, as_json=as_json)
    if files.space is not None:
        _write(tuning, final, places, files.space)
    _exit_unless_whole(final, places)


def _tell_what_is_searched(tuning: "Tuning") -> None:
    from curvetune.tuning.outcomes import rungs_of
    from curvetune.tuning.show import rungs_words

    for tuned in tuning.methods:
        if not tuned.ranges:
            tell(f"{tuned.method}: declares no range, so it runs its default once")
        for option, found in tuned.ranges.items():
            tell(f"{tuned.method}: {option} in {found.words()} ({found.source})")
        if tuning.scheduler != "none" and tuned.ranges:
            tell(f"{tuned.method}: {rungs_words(rungs_of(tuning, tuned), tuning.reduction)}")


def _tell_of_diverged(searched: "Sequence[Searched]") -> None:
    for one in searched:
        count = sum(trial.has_diverged for trial in one.trials)
        if count:
            tell(f"{one.tuned.method}: {count} of {len(one.trials)} trials diverged: the worst")


def _exit_unless_whole(ended: "Ended", places: Places) -> None:
    from curvetune.store import CellStore

    exit_for(ended.plan, CellStore(places.storage), ended.outcome)


def _print_cost(tuning: "Tuning", places: Places, launch: LaunchOptions, *, as_json: bool) -> None:
    """Print what the search costs, and the test at its end."""
    from curvetune.pricing import price_plan
    from curvetune.tuning.cost import cost_lines, share_of_epochs
    from curvetune.tuning.plans import final_plan, search_plan
    from curvetune.tuning.proposals import expected

    trials = [(one, expected(tuning, one, places.storage)) for one in tuning.methods]
    cells = [
        cell
        for tuned, found in trials
        for options in found
        for cell in tuning.trial(tuned, options)
    ]
    plans = {
        "search": search_plan(tuning, cells, places, tell, priced=True),
        "test": final_plan(tuning, [(one, found[-1]) for one, found in trials], places, tell),
    }
    prices = {key: price_plan(plan, places, launch, tell=tell) for key, plan in plans.items()}
    share = share_of_epochs(tuning, [(one, len(found)) for one, found in trials])
    if as_json:
        found = {key: {**plans[key].counts(), "price": prices[key].to_json()} for key in plans}
        found["search"] |= {"share_of_epochs": share, "seconds_each": tuning.seconds}
        typer.echo(json.dumps({"schema_version": 1, **found}, indent=1))
        return
    from curvetune.status.price_table import print_price
    from curvetune.system.terminal import plain_console

    for key, plan in plans.items():
        n = plan.counts()
        typer.echo(f"{key}: {n['cells_total']} cells, {n['cells_to_run']} to run, at most")
        print_price(prices[key], plain_console())
        if key == "search":
            for line in cost_lines(tuning, share):
                typer.echo(line)


def _print(tuning: "Tuning", ended: "Ended", places: Places, select: Any, *, as_json: bool) -> None:
    from curvetune.store import CellStore
    from curvetune.system.terminal import plain_console
    from curvetune.tuning.scores import results_of
    from curvetune.tuning.show import print_results, results_json

    found = results_of(tuning, ended.searched, CellStore(places.storage), select=select)
    if as_json:
        typer.echo(json.dumps(results_json(tuning, found), indent=1))
    else:
        print_results(tuning, found, plain_console())


def _draw(tuning: "Tuning", ended: "Ended", path: Path) -> None:
    from curvetune.tuning.files import write_file
    from curvetune.tuning.show import figure_file

    write_file("--figure", path, figure_file(tuning, ended.searched, path.suffix[1:]))
    tell(f"the search: {path}")


def _write(tuning: "Tuning", ended: "Ended", places: Places, path: Path) -> None:
    from curvetune.tuning.files import write_file
    from curvetune.tuning.winners import winners_space

    text = winners_space(tuning, ended.searched, ended.plan, places, command_line())
    write_file("--space", path, text.encode())
    tell(f"the winners: curvetune grid {path}")
