"""`curvetune decide`: as many seeds as it takes to know which of two methods is better."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
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
    from curvetune.deciding import Budget
    from curvetune.grids.cells import Select
    from curvetune.planning.more_seeds import Duel
    from curvetune.planning.plan import Plan
    from curvetune.run import Outcome

CHOSEN = (
    "the 5 % are of two methods that were chosen before anybody looked; of others, which these "
    "seeds have picked, it says too much"
)


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
    select: o.Select = "last",
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
    however often one looks (docs/statistics.md). The seeds are 0, 1, 2 and so on; what the grid
    has of them is not run again. The cells are a grid of their own, GRID-A-against-B. The same
    command goes on where it stopped.
    """
    from curvetune.deciding import parse_budget, read_duel

    allowed = parse_budget(budget)
    chosen = selected(select)
    o.load_plugins(plugins)
    look = _Look(read_duel(grid, a, b, places.storage), places.storage, margin, chosen)
    tell(f"{look.now().words()}{_stamp(look.duel)}")
    if look.duel.methods > 2:
        tell(CHOSEN)
    if dry_run:
        _print_cost(look.duel, look.now(), places, launch, as_json=as_json)
        return
    why = _rounds(look, allowed, places, telling, launch, as_json=as_json)
    now = look.now()
    if now.verdict == "open" and now.outlook():
        tell(now.outlook())
    if why:
        tell(why)
    _print(now, look.duel, as_json=as_json)


@dataclass(frozen=True)
class _Look:
    """Looks how two methods stand."""

    duel: "Duel"
    storage: Path
    margin: float
    select: "Select"

    def now(self) -> "Standing":
        from curvetune.deciding import standing

        return standing(self.duel, self.storage, margin=self.margin, select=self.select)


def _rounds(
    look: _Look,
    allowed: "Budget",
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    *,
    as_json: bool,
) -> str:
    """Run rounds until there is a verdict; return why they ended before, if they did."""
    from curvetune.analysis.sequence import FEWEST
    from curvetune.deciding import MOST_SEEDS, make_round
    from curvetune.store import CellStore

    began, spent, recorded, now = time.monotonic(), 0, 0, look.now()
    while now.verdict == "open":
        wanted = max(FEWEST, len(now.seeds) + 1)
        if wanted > MOST_SEEDS:
            return (
                f"{MOST_SEEDS} seeds have not decided it; --margin POINTS ends it if both are alike"
            )
        plan = make_round(look.duel, wanted, places, tell, begin=recorded)
        spent += len(plan.left)
        if spent > allowed.cells or time.monotonic() - began > allowed.seconds:
            return (
                f"the next round has {len(plan.left)} cells, for which --budget has no room; with "
                f"more, the same command goes on"
            )
        outcome = _run(plan, places, telling, launch)
        now = look.now()
        recorded = len(now.seeds)
        tell(now.words())
        if outcome.lacking or not outcome.finished:
            _print(now, look.duel, as_json=as_json)
            exit_for(plan, CellStore(places.storage), outcome)
    return ""


def _run(plan: "Plan", places: Places, telling: Telling, launch: LaunchOptions) -> "Outcome":
    """Run a round."""
    from curvetune.cli.run import command_line
    from curvetune.run import run_plan

    _, outcome = run_plan(
        lambda: plan, places, telling, launch, command=command_line(), tell=tell, console=signs()
    )
    return outcome


def _stamp(duel: "Duel") -> str:
    """Return what is to stand behind a verdict on results of another profile than release."""
    from curvetune.grids.stamps import stamp

    said = stamp(duel.profiles)
    return f" ({said})" * bool(said)


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
    words = f"{now.words()}{_stamp(duel)}"
    typer.echo(json.dumps(_json(now, duel), indent=1) if as_json else words)


def _json(now: "Standing", duel: "Duel") -> dict[str, Any]:
    low, high = now.interval or (None, None)
    return {
        "schema_version": 1,
        "grid": duel.name,
        "profiles": list(duel.profiles),
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
