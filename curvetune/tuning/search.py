"""The rounds of a search, and the test after it, whoever runs their plans."""

from collections.abc import Callable
from dataclasses import dataclass

from curvetune.grids.cells import Select
from curvetune.places import Places
from curvetune.planning.plan import Plan
from curvetune.run import Outcome
from curvetune.store import CellStore
from curvetune.tuning.contest import Tuning
from curvetune.tuning.plans import Tell, diverged, final_plan, search_plan
from curvetune.tuning.proposals import proposed, rounds
from curvetune.tuning.scores import WORST, Searched, score

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


def searched_so_far(
    tuning: Tuning, count: int, places: Places, *, select: Select = "last", keep: bool = True
) -> tuple[Searched, ...]:
    """Return the methods with their first trials, as they are now.

    Args:
        count: of trials of each method, at most one round more than have come out.
        keep: whether trials that are new are kept in the storage.
    """
    store = CellStore(places.storage)
    found = []
    for tuned in tuning.methods:
        before = max((end for end in rounds(tuning) if end < count), default=0)
        known = proposed(tuning, tuned, before, places.storage, keep=False) if before else []
        scores = [score(tuning, tuned, options, store, select) for options in known]
        accuracies = [WORST if one.accuracy is None else one.accuracy for one in scores]
        trials = proposed(tuning, tuned, count, places.storage, accuracies, keep=keep)
        every = [score(tuning, tuned, options, store, select) for options in trials]
        found.append(Searched(tuned, tuple(every)))
    return tuple(found)


def run_search(
    tuning: Tuning, places: Places, run: Run, tell: Tell, *, select: Select = "last"
) -> Ended:
    """Run the trials that have not come out, round by round, until all have or one cannot.

    Args:
        run: runs a plan.
        tell: hears what there is to know.
    """
    store = CellStore(places.storage)
    for count in rounds(tuning):
        now = searched_so_far(tuning, count, places, select=select)
        trials = [(one.tuned, [trial.options for trial in one.trials]) for one in now]
        plan = search_plan(tuning, trials, places, tell)
        if not plan.left and count < tuning.budget:
            continue  # an earlier command ran this round
        outcome = run(plan)
        lacking = tuple(cell for cell in outcome.lacking if not diverged(store, cell.cell_id))
        ended = Ended(
            searched_so_far(tuning, count, places, select=select),
            plan,
            Outcome(outcome.finished, outcome.preempted, lacking),
        )
        if not ended.is_whole:
            break
    return ended


def run_final(
    tuning: Tuning, searched: tuple[Searched, ...], places: Places, run: Run, tell: Tell
) -> Ended:
    """Test winners and defaults with fresh seeds: only now the test set is read."""
    plan = final_plan(tuning, [(one.tuned, one.winner.options) for one in searched], places, tell)
    return Ended(searched, plan, run(plan))
