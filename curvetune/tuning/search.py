"""The rounds of a search, and the test after it, whoever runs their plans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curvetune.grids.cells import Select
from curvetune.places import Places
from curvetune.planning.plan import Plan
from curvetune.run import Outcome
from curvetune.store import CellStore
from curvetune.tuning.budget import count_ahead, next_count
from curvetune.tuning.contest import Tuning
from curvetune.tuning.outcomes import Method, Records, Trial
from curvetune.tuning.plans import Tell, diverged, final_plan, search_plan
from curvetune.tuning.proposals import proposed, rounds
from curvetune.tuning.scores import Searched

Run = Callable[[Plan], Outcome]


@dataclass(frozen=True)
class Ended:
    """How a search, or its test, ended.

    Args:
        plan: the last one that ran.
        outcome: what came of it, but for trials that diverged: they have ended.
    """

    searched: tuple[Searched, ...]
    plan: Plan
    outcome: Outcome

    @property
    def is_whole(self) -> bool:
        """Whether every cell has a result, or has diverged."""
        return self.outcome.finished and not self.outcome.lacking


class Looking:
    """Looks at the methods of a search again and again; what is final is read once."""

    def __init__(self, tuning: Tuning, places: Places, select: Select = "last") -> None:
        """Take what is tuned; `select` says which accuracy of a result counts."""
        records = Records(places.storage)
        self._methods = [Method(tuning, tuned, records, select) for tuned in tuning.methods]
        self._tuning, self._storage = tuning, places.storage

    def first(self) -> list[int]:
        """Return how many trials each method has after the first round."""
        return [rounds(self._tuning)[0]] * len(self._methods)

    def at(self, counts: Sequence[int], *, keep: bool = True) -> tuple[Searched, ...]:
        """Return the methods with their first trials, as they are now.

        Args:
            counts: of trials of each method; if Optuna proposes them, at most one round more than
                have come out.
            keep: whether trials that are new are kept in the storage.
        """
        both = zip(self._methods, counts, strict=True)
        return tuple(self._searched(method, count, keep=keep) for method, count in both)

    def _searched(self, method: Method, count: int, *, keep: bool) -> Searched:
        tuning, tuned, storage = self._tuning, method.tuned, self._storage
        before = max((end for end in rounds(tuning) if end < count), default=0)
        found: Sequence[Trial] = ()
        if before and tuning.search == "optuna":
            known = proposed(tuning, tuned, before, storage, keep=False)
            found = method.outcomes(known).trials
        trials = proposed(tuning, tuned, count, storage, found, keep=keep)
        return Searched(tuned, method.outcomes(trials))


def run_search(
    tuning: Tuning, places: Places, run: Run, tell: Tell, *, select: Select = "last"
) -> Ended:
    """Run the trials that have not come out, round by round, until all have or one cannot.

    A scheduler has a round run several times, each time up to the next rung.

    Args:
        run: runs a plan.
        tell: hears what there is to know.
    """
    store = CellStore(places.storage)
    looking = Looking(tuning, places, select)
    counts = ahead = looking.first()
    last: tuple[Plan, Outcome] | None = None
    while True:
        now = looking.at(counts)
        if last is not None and not (ended := Ended(now, *last)).is_whole:
            return ended
        if all(one.outcomes.is_whole for one in now):
            so_far = list(zip(now, counts, strict=True))
            more = [next_count(tuning, one, count) for one, count in so_far]
            if more != counts:
                ahead = [count_ahead(tuning, one, count) for one, count in so_far]
                counts = more
                continue  # an earlier command may have run this round
            if last is not None and _has(last[0], now):
                return Ended(now, *last)
            ahead = counts
        wanted = [one.outcomes for one in looking.at(ahead)]
        cells = [cell for one in wanted for cell in one.cells]
        until = {cell_id: epochs for one in wanted for cell_id, epochs in one.until.items()}
        plan = search_plan(tuning, cells, places, tell, until=until)
        outcome = run(plan)
        lacking = tuple(cell for cell in outcome.lacking if not diverged(store, cell.cell_id))
        last = plan, Outcome(outcome.finished, outcome.preempted, lacking)


def _has(plan: Plan, searched: Sequence[Searched]) -> bool:
    """Say whether a plan has all cells of these trials, so that the grid's file has them."""
    planned = {cell.config for cell in plan.cells}
    return all(cell in planned for one in searched for cell in one.outcomes.cells)


def run_final(
    tuning: Tuning, searched: tuple[Searched, ...], places: Places, run: Run, tell: Tell
) -> Ended:
    """Test winners and defaults with fresh seeds: only now the test set is read."""
    plan = final_plan(tuning, [(one.tuned, one.winner.options) for one in searched], places, tell)
    return Ended(searched, plan, run(plan))
