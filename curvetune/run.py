"""What `grid` does, and Python too: plan a grid, run what is left of it, say what came of it.

It raises and returns; whoever calls it prints. The command line is cli/run.py, Python is api.py.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.errors import CorruptError
from curvetune.known import has_probe, is_done, keep_facts, keep_sizes, sizes_of, write_bad_list
from curvetune.places import Places, Telling
from curvetune.system.collecting import not_collected

if TYPE_CHECKING:
    from rich.console import Console

    from curvetune.data import Source
    from curvetune.planning.plan import Plan, PlannedCell
    from curvetune.planning.resources import LaunchOptions
    from curvetune.planning.selection import Selection
    from curvetune.status.notify import GridEnd
    from curvetune.system.progress import At
    from curvetune.system.source_code import Code
    from curvetune.tracking.sync.thread import TrackerThread
    from curvetune.tune.early import Early
    from curvetune.tune.nodes.room import Notice
    from curvetune.tune.stopping import Stopping

PREEMPTED_END_S = 1.0  # for MLflow
SHOWN_KEYS = 3  # in which another grid of the same name differs

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """What came of running a plan.

    Args:
        finished: whether every cell was run to its end, good or bad; False if a signal stopped it.
        preempted: whether that signal was SIGTERM.
        lacking: the cells of the plan that have no result now, nor came to where they wait.
    """

    finished: bool
    preempted: bool
    lacking: tuple["PlannedCell", ...]

    @property
    def ending(self) -> "GridEnd":
        """The same in a word, for a web hook."""
        if self.finished:
            return "failed" if self.lacking else "done"
        return "preempted" if self.preempted else "interrupted"


@not_collected()
def make_plan(selection: "Selection", places: Places, tell: Tell) -> "Plan":
    """Return what `selection` comes to, given what the storage has; changes nothing.

    Args:
        tell: hears what there is to know of the images and of results that are reused.

    Raises:
        ConfigError: the selection, its space or its data are not right.
    """
    from curvetune.data import OWN
    from curvetune.data.people.cells import with_labels
    from curvetune.planning.again import made_of
    from curvetune.planning.plan import build_plan
    from curvetune.planning.selection import selected_space
    from curvetune.store import CellStore, CurveStore
    from curvetune.system.source_code import others, this_code

    space = selected_space(selection)
    places = places.or_else(space.data_dir, space.on_bad)
    images = places.source(space.cells[0].data)
    digest = images.digest(places.data_dir)
    space = replace(space, cells=with_labels(space.cells, images, places.data_dir))
    made: list[Code] = []
    plan = build_plan(
        space,
        digest,
        is_done=partial(is_done, CellStore(places.storage), made),
        has_probe=partial(has_probe, CurveStore(places.storage), tell),
    )
    if (said := others(made, this_code())) is not None:
        tell(said)
    if isinstance(images, OWN):
        report = images.report(places.data_dir)
        for line in report.words():
            tell(line)
        sizes = images.sizes(places.data_dir)  # the table of a plan tells of them
        plan = replace(plan, images=report, sizes=sizes)
    plan = replace(plan, made=made_of(space, places.data_dir, places.on_bad, selection))
    if (said := another_grid(plan, places.storage)) is not None:
        tell(said)
    return checked(plan, images, places) if plan.left else plan


def another_grid(plan: "Plan", storage: Path) -> str | None:
    """Say if what a storage has under the name of a plan is another grid; None if it is not."""
    from curvetune.store import CellStore
    from curvetune.store.commands import differing, is_same_grid

    store = CellStore(storage)
    if plan.name not in store.grids():
        return None
    try:
        known = store.read_grid(plan.name)
    except CorruptError:  # it will be written anew
        return None
    if {cell.cell_id for cell in plan.cells} & {cell["cell_id"] for cell in known["cells"]}:
        return None  # which is quick to see
    mine = _grid_file(plan, "")
    if is_same_grid(mine, known):
        return None
    keys = differing(mine, known)
    more = " and more" * (len(keys) > SHOWN_KEYS)
    return (
        f"{plan.name}: the storage has another grid of this name, of {len(known['cells'])} cells "
        f"with other {', '.join(keys[:SHOWN_KEYS])}{more}. Nothing of it is lost: it is called "
        f"{plan.name}@ID from then on, as `curvetune status` lists it. To give this one a name of "
        f"its own: --name NAME"
    )


def make_retry(grid: str, kinds: Sequence[str], places: Places) -> "Plan":
    """Return the failed cells of a recorded grid, of some kinds of failure or of all.

    Raises:
        ConfigError: there is no such grid, or the data is another one than the grid's.
    """
    from curvetune.planning.retry import check_data, plan_retry
    from curvetune.store import CellStore, CurveStore

    store = CellStore(places.storage)
    plan = plan_retry(
        grid.removesuffix("@last"),  # it is the grid itself that MLflow hears of
        store.read_grid(grid),
        failed_as=kinds,
        is_done=lambda cell_id: store.result(cell_id) is not None,
        failure=store.failure,
        has_probe=CurveStore(places.storage).has,
    )
    if plan.cells:
        config = plan.cells[0].config.data
        check_data(plan, places.source(config).digest(places.data_dir), places.data_dir)
    return plan


def run_plan(
    make: Callable[[], "Plan"],
    places: Places,
    telling: Telling,
    options: "LaunchOptions",
    *,
    command: str,
    tell: Tell,
    console: "Console | None" = None,
    time_steps: bool = False,
) -> tuple["Plan", Outcome]:
    """Make a plan once the options are known to be right, and run what it has left.

    Args:
        command: what runs, as it can be typed again; kept with the grid.
        tell: hears what starts.
        console: where progress is shown; nowhere unless given.
        time_steps: measure afterwards what a step takes, unless nothing was left to run.

    Raises:
        CurvetuneError: as errors.py says; a cell that fails raises nothing.
    """
    from curvetune.jobs.inside import check_lasting
    from curvetune.status.notify import check_hook, notified
    from curvetune.store import open_storage
    from curvetune.system.progress import working
    from curvetune.tracking.base import resolve_uri

    check_hook(telling.notify)
    check_lasting(places.storage)
    resolve_uri(places.storage, telling.tracking_uri)  # refuses a bad one before anything is done
    with working("looking at the images and the storage", console):
        plan = make()
    places = places.or_else(plan.data_dir, plan.on_bad)
    places = replace(places, storage=open_storage(places.storage))
    if (path := write_bad_list(plan.images, plan.digest, places.storage)) is not None:
        tell(f"all of them, with the reasons: {path}")
    tell(what_starts(plan))
    running = _Running(plan, places, telling, options, command, tell, console)
    with notified(telling.notify, places.storage, plan.name) as ending:
        outcome = running.run(time_steps=time_steps)
        ending.state = outcome.ending
    return plan, outcome


def what_starts(plan: "Plan") -> str:
    """Return how much of a plan there is to run, in words."""
    n = plan.counts()
    if plan.is_part:
        cells = "1 failed cell" if n["cells_total"] == 1 else f"{n['cells_total']} failed cells"
        return f"{plan.name}: {cells if plan.left else 'no such failed cell'} to run again"
    if not plan.left:
        return f"{plan.name}: all {n['cells_total']} cells are done; nothing to run"
    done = "done" if not plan.until else "done or paused"
    return (
        f"{plan.name}: {n['cells_total']} cells, {n['cells_done']} {done}, {n['cells_to_run']} to "
        f"run; probes: {n['probes_stored']} stored, {n['probes_to_run']} to run"
    )


@dataclass(frozen=True)
class _Running:
    """A plan that is being run, with all that its steps have in common."""

    plan: "Plan"
    places: Places
    telling: Telling
    options: "LaunchOptions"
    command: str
    tell: Tell
    console: "Console | None"

    def run(self, *, time_steps: bool) -> Outcome:
        """Run it until it ends or a signal stops it."""
        from curvetune.store import CellStore
        from curvetune.tune.stopping import Stopping

        stopping = Stopping()
        with stopping.handled():
            try:
                finished = self._left(stopping)
                if finished and time_steps and self.plan.left:
                    self._time_steps()
            except KeyboardInterrupt:
                finished = False
        store = CellStore(self.places.storage)
        lacking = [cell for cell in self.plan.left if not self.plan.has_come(cell.cell_id, store)]
        return Outcome(finished, stopping.preempted, tuple(lacking))

    def _left(self, stopping: "Stopping") -> bool:
        """Run the cells that are left while others watch; False if a signal stopped it."""
        with contextlib.ExitStack() as end:
            early = self._early()
            if early is not None:
                end.callback(early.end)
            return self._run(stopping, early)

    def _early(self) -> "Early | None":
        """Start Ray beside what comes before the trials, if it is to be started here."""
        if not self.plan.left:
            return None
        from curvetune.tune.early import Early, is_here

        return Early(self.options, len(self.plan.left)) if is_here(self.options) else None

    def _run(self, stopping: "Stopping", early: "Early | None") -> bool:
        from curvetune.pricing import keep_estimate
        from curvetune.store import CellStore
        from curvetune.system.progress import working

        plan, storage = self.plan, self.places.storage
        dataset = None
        if plan.left:
            with working("preparing", self.console) as at:
                dataset = self._prepared(at)
        from curvetune.tracking.sync.thread import TrackerThread

        if not plan.is_part:
            record = _grid_file(plan, self.command)
            CellStore(storage).write_grid(plan.name, record, has_run=bool(plan.left))
        if dataset is not None:
            keep_estimate(plan, sizes_of(dataset), storage, self.options)
        else:
            keep_sizes(plan, storage)
        telling = self.telling
        tracker = TrackerThread(
            storage, plan.name, telling.tracking_uri, log_models=telling.log_models
        )
        if not plan.left:
            tracker.catch_up()
            return True
        with self._tracked(tracker):
            from curvetune.store.files import refresh
            from curvetune.tune.launch import launch
            from curvetune.tune.nodes.room import Notice

            notice = Notice()
            try:
                with self._progress(notice):
                    finished = launch(
                        plan,
                        dataset,
                        storage,
                        self.options,
                        stopping=stopping,
                        notice=notice,
                        ray_here=early,
                    )
                    refresh(storage, now=True)  # those who watch look once more
                    return finished
            finally:
                if stopping.preempted:  # its grace is nearly over; the next command tells MLflow
                    tracker.end_s = PREEMPTED_END_S

    @contextlib.contextmanager
    def _tracked(self, tracker: "TrackerThread") -> Iterator[None]:
        """Keep MLflow up to date while the block runs; its end may take as long as a minute."""
        from curvetune.system.progress import working

        with contextlib.ExitStack() as end, tracker:
            try:
                yield
            finally:
                end.enter_context(working("bringing MLflow up to date", self.console))

    def _progress(self, notice: "Notice") -> contextlib.AbstractContextManager[Any]:
        if self.console is None:
            return contextlib.nullcontext()
        from curvetune.status.live import LiveProgress

        only = {cell.cell_id for cell in self.plan.cells}
        return LiveProgress(
            self.places.storage,
            self.plan.name,
            self.console,
            only=only,
            until=self.plan.until,
            note=lambda: notice.text,
            stage=lambda: notice.stage,
        )

    def _prepared(self, at: "At") -> Any:
        """Load the data and make every split, so that a bias it cannot bear is found before Ray."""
        at("importing PyTorch")
        from curvetune.training.classifier import check_classifiers
        from curvetune.training.split import prepare_splits

        plan, places = self.plan, self.places
        cells = [cell.config for cell in plan.left]
        at("reading the images")
        dataset = places.source(cells[0].data).load(places.data_dir)
        validates = all(cell.data.validation is not None for cell in cells)
        if validates:  # then no trial gets the test set, and nobody here looks at it
            dataset = dataset.without_test()
        at("making splits")
        prepare_splits(cells, plan.digest, dataset, places.storage)
        at("trying the classifier")
        check_classifiers(cells, dataset)
        if validates:
            return dataset
        at("looking for images that are there twice")
        keep_facts(plan.images, dataset, sizes_of(dataset), plan.digest, places.storage)
        return dataset

    def _time_steps(self) -> None:
        """Measure what a step of each method takes, now that no trial runs beside it."""
        from curvetune.system.progress import working
        from curvetune.tune.step_times import measure_step_times

        places = self.places
        with working("timing the steps", self.console):
            dataset = places.source(self.plan.cells[0].config.data).load(places.data_dir)
            measure_step_times(self.plan, dataset, places.storage, self.options)


def checked(plan: "Plan", images: "Source", places: Places) -> "Plan":
    """Return a plan with the sizes of its data, which can give every cell that is left its split.

    Raises:
        DataError: it cannot.
    """
    from curvetune.pricing import Sizes

    sizes = Sizes(images.sizes(places.data_dir))
    for cell in plan.left:
        sizes(cell.config)
    return replace(plan, sizes=sizes.images)


def _grid_file(plan: "Plan", command: str) -> dict[str, Any]:
    """Return what the storage keeps about a grid."""
    from curvetune.planning.plan import cell_json

    return {
        "cells": [cell_json(cell) for cell in plan.cells],
        "command": command,
        "data_digest": plan.digest,
        **({"made": dict(plan.made)} if plan.made else {}),
    }
