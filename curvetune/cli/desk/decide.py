"""`curvetune decide`: as many seeds as it takes to know which of two methods is better."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.groups import with_groups
from curvetune.cli.report import selected
from curvetune.cli.run import exit_for, signs, tell
from curvetune.places import Places, Telling
from curvetune.planning.resources import LaunchOptions

if TYPE_CHECKING:
    from curvetune.analysis.decide import Standing
    from curvetune.planning.more_seeds import Duel


@with_groups(places=groups.places, telling=groups.telling, launch=groups.launch)
def decide(
    a: Annotated[str, typer.Argument(metavar="A", help="A method of the grid.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one. Shown is B − A.")],
    grid: Annotated[
        str, typer.Option("--in", "--grid", metavar="GRID", help="The grid that has both.")
    ],
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            metavar="POINTS",
            min=0.0,
            help="Stop too when they are known to be no more than this apart.",
        ),
    ] = 0.0,
    budget: Annotated[
        str,
        typer.Option(
            "--budget", metavar="CELLS|HOURS", help="New cells at most, as 40, or time, as 1.5h."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how they stand and what a round costs.")
    ] = False,
    select: Annotated[
        str, typer.Option("--select", metavar="WHICH", help="last, last10 or best, as in report.")
    ] = "last",
    plugins: o.Plugins = None,
    *,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Add seeds to two methods of a grid until it is known which is better.

    A round is one more seed of both in every setting. After each, B is better, worse, or within the
    margin of A, or the question is open. Such a verdict is wrong with a chance of at most 5 %,
    however often one looks (docs/statistics.md). All seeds of the grid count, in their order. The
    cells are a grid of their own, GRID-A-against-B. The same command goes on where it stopped.
    """
    from curvetune.analysis.sequence import FEWEST
    from curvetune.deciding import Budget, make_round, parse_budget, read_duel, standing

    allowed: Budget = parse_budget(budget)
    chosen = selected(select)
    o.load_plugins(plugins)
    duel = read_duel(grid, a, b, places.storage)
    began, spent = time.monotonic(), 0
    now = standing(duel, places.storage, margin=margin, select=chosen)
    tell(now.words())
    if dry_run:
        _print_cost(duel, now, places, launch, as_json=as_json)
        return
    why = ""
    while now.verdict == "open":
        wanted = max(FEWEST, len(now.seeds) + 1)
        plan = make_round(duel, wanted, places, tell)
        spent += len(plan.left)
        if spent > allowed.cells or time.monotonic() - began > allowed.seconds:
            why = f"the budget of {budget} is used; with more, the same command goes on"
            break
        _run(plan, places, telling, launch)
        now = standing(duel, places.storage, margin=margin, select=chosen)
        tell(now.words())
    if now.verdict == "open" and now.outlook():
        tell(now.outlook())
    if why:
        tell(why)
    _print(now, duel, as_json=as_json)


def _run(plan: Any, places: Places, telling: Telling, launch: LaunchOptions) -> None:
    """Run a round; exit as `grid` does if it does not come to its end."""
    from curvetune.cli.run import command_line
    from curvetune.run import run_plan
    from curvetune.store import CellStore

    plan, outcome = run_plan(
        lambda: plan, places, telling, launch, command=command_line(), tell=tell, console=signs()
    )
    exit_for(plan, CellStore(places.storage), outcome)


def _print_cost(
    duel: "Duel", now: "Standing", places: Places, launch: LaunchOptions, *, as_json: bool
) -> None:
    """Print what the next round costs, and how many there may be."""
    from curvetune.analysis.sequence import FEWEST
    from curvetune.deciding import make_round
    from curvetune.pricing import price_plan

    plan = make_round(duel, max(FEWEST, len(now.seeds) + 1), places, tell)
    price = price_plan(plan, places, launch, tell=tell)
    if as_json:
        typer.echo(json.dumps({**_json(now, duel), "price": price.to_json()}, indent=1))
        return
    from curvetune.status.price_table import print_price
    from curvetune.system.terminal import plain_console

    tell(now.outlook() or f"{FEWEST} seeds are the fewest that can decide")
    print_price(price, plain_console())


def _print(now: "Standing", duel: "Duel", *, as_json: bool) -> None:
    typer.echo(json.dumps(_json(now, duel), indent=1) if as_json else now.words())


def _json(now: "Standing", duel: "Duel") -> dict[str, Any]:
    low, high = now.interval or (None, None)
    return {
        "schema_version": 1,
        "grid": duel.name,
        "a": now.a,
        "b": now.b,
        "verdict": now.verdict,
        "difference": now.mean,
        "low": low,
        "high": high,
        "margin": now.margin,
        "seeds": [
            {"seed": seed, "difference": value}
            for seed, value in zip(now.seeds, now.differences, strict=True)
        ],
        "seeds_expected": now.expected,
    }
