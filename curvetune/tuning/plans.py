"""What a tuning is of, and the plans that run its cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from curvetune.errors import ConfigError
from curvetune.known import has_probe, is_done
from curvetune.places import Places
from curvetune.planning.again import made_of
from curvetune.planning.plan import Plan, build_plan
from curvetune.planning.selection import Selection, selected_space
from curvetune.run import checked
from curvetune.store import CellStore, CurveStore
from curvetune.tuning.contest import (
    SEARCH,
    TEST,
    Budget,
    Scheduler,
    Search,
    Tuned,
    Tuning,
    Validation,
    check_name,
    tuned_methods,
)
from curvetune.tuning.trials import Options

if TYPE_CHECKING:
    from curvetune.config import CellConfig

Tell = Callable[[str], object]


def make_tuning(
    selection: Selection,
    places: Places,
    *,
    search: Search,
    budget: Budget,
    scheduler: Scheduler,
    reduction: int,
    validation: Validation,
    seed: int,
    test_seeds: int,
) -> tuple[Tuning, Places]:
    """Return what is tuned, and where its images are; changes nothing.

    Raises:
        ConfigError: the selection, its space or its data are not right, or no seed is to test.
    """
    from curvetune.data.people.cells import with_labels

    if test_seeds < 1:
        raise ConfigError(f"--test-seeds {test_seeds}: allowed is at least 1")
    space = selected_space(selection)
    check_name(space.name)
    places = places.or_else(space.data_dir, space.on_bad)
    images = places.source(space.cells[0].data)
    digest = images.digest(places.data_dir)
    space = replace(space, cells=tuple(with_labels(space.cells, images, places.data_dir)))
    methods = tuned_methods(space.cells)
    found = Tuning(
        space,
        digest,
        methods,
        search,
        budget.trials,
        validation,
        seed,
        test_seeds,
        scheduler=scheduler,
        reduction=reduction,
        seconds=budget.seconds,
    )
    for tuned in methods:
        found.trial(tuned, {})  # which refuses what cannot be validated
    return found, places


def search_plan(
    tuning: Tuning,
    cells: Sequence["CellConfig"],
    places: Places,
    tell: Tell,
    *,
    until: Mapping[str, int] | None = None,
    priced: bool = False,
) -> Plan:
    """Return the plan of these cells of trials; one that diverged is done.

    Args:
        until: the epochs at which cells pause, of those that do; one that came there is done.
        priced: whether the plan knows the sizes of its data. They have those of the test set too,
            which a search never looks at.
    """
    plan = _plan(tuning, SEARCH, cells, places, tell, until)
    if not priced:
        return plan
    return checked(plan, places.source(cells[0].data), places)


def final_plan(
    tuning: Tuning, chosen: Iterable[tuple[Tuned, Options]], places: Places, tell: Tell
) -> Plan:
    """Return the plan of the cells that test the default of each method, and what was chosen."""
    cells = [
        cell
        for tuned, options in chosen
        for one in ({}, options)
        for cell in tuning.test(tuned, one)
    ]
    plan = _plan(tuning, TEST, cells, places, tell)
    return checked(plan, places.source(cells[0].data), places) if plan.left else plan


def _plan(
    tuning: Tuning,
    ending: str,
    cells: Sequence["CellConfig"],
    places: Places,
    tell: Tell,
    until: Mapping[str, int] | None = None,
) -> Plan:
    space = replace(tuning.space, name=tuning.named(ending), cells=tuple(cells))
    store = CellStore(places.storage)
    done = partial(is_done, store, [])
    until = dict(until or {})

    def is_over(cell_id: str) -> bool:
        if done(cell_id):
            return True
        is_there = cell_id in until and store.has_epochs(cell_id, until[cell_id])
        return is_there or (ending == SEARCH and diverged(store, cell_id))

    plan = build_plan(
        space,
        tuning.digest,
        is_done=is_over,
        has_probe=partial(has_probe, CurveStore(places.storage), tell),
    )
    made = made_of(space, places.data_dir, places.on_bad)
    return replace(plan, made=made, until=until)


def diverged(store: CellStore, cell_id: str) -> bool:
    """Say whether a cell's last try ended since a loss was no finite number."""
    failure = store.failure(cell_id)
    return failure is not None and failure.get("kind") == "diverged"
