"""The cells of a grid, read from files alone: from another terminal, or after the driver died."""

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from curvetune.errors import CorruptError, printable
from curvetune.grids.labels import GIVEN, Config, Setting, method_labels, setting_of
from curvetune.grids.own import Sizes, class_sizes
from curvetune.grids.stamps import mean_of_last, other_grids, profiles_of, stamp
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import refresh
from curvetune.store.history import read_rows
from curvetune.store.lease import Holder, read_holder
from curvetune.store.names import CONFIG, DONE, FAILED, HISTORY, MANIFEST, PAUSED
from curvetune.system.collecting import not_collected
from curvetune.system.redact import redact

# Only where no lease was ever taken (results of older versions): a cell without news for this long,
# or for this many of its epochs, is taken to have been stopped.
STALE_S = 300.0
STALE_EPOCHS = 5

HELD_OUT = "accuracy on held-out samples, not on the test set"  # data.validation

# stale: begun, and left; paused: left with a checkpoint, as its search wants it for now
CellState = Literal["done", "failed", "running", "stale", "paused", "waiting"]
Select = Literal["last", "last10", "best"]
ACCURACY: dict[str, str] = {
    "last": "accuracy",
    "last10": "accuracy_last10",
    "best": "accuracy_best",
}

Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Activity:
    """How far a cell that began, but is not done, has come."""

    stage: Literal["probe", "allocate"]
    rows: Rows  # of that stage
    began: float
    news: float  # when something was last written

    @property
    def last_own_news(self) -> float:
        """When the cell itself wrote something last: another cell may have taken over its probe."""
        return self.began if self.stage == "probe" else self.news


@dataclass(frozen=True)
class Cell:
    """One cell of a grid."""

    cell_id: str
    probe_id: str | None
    config: Config
    label: str
    setting: Setting
    state: CellState
    result: Mapping[str, Any] | None = None  # DONE.json
    failure: Mapping[str, Any] | None = None  # FAILED.json
    activity: Activity | None = None
    holder: Holder | None = None  # of its lease, alive or not

    @property
    def name(self) -> str:
        """The method's plain name."""
        return str(self.config["method"]["name"])

    @property
    def error(self) -> str | None:
        """Why it failed, in a line; None if it has not."""
        if self.failure is None:
            return None
        return printable(self.failure.get("error", ""), 5000) or "it left no message"

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed"])

    def accuracy(self, select: Select = "last") -> float | None:
        """Return the accuracy in percent, or None if the cell is not done."""
        value = (self.result or {}).get(ACCURACY[select])
        return None if value is None else float(value)

    @property
    def noise_rate(self) -> float | None:
        """The rate of the noise; of people's labels the share that is wrong, None if not known."""
        if self.setting.noise not in GIVEN:
            is_known = self.setting.noise_rate or not self.setting.is_own
            return self.setting.noise_rate if is_known else None
        value = (self.result or {}).get("wrong_share")
        return None if value is None else float(value)

    @property
    def seconds(self) -> float | None:
        """How long the cell took, its probe included if it ran that; None if it is not done."""
        return sum(self.result.get("seconds", {}).values()) if self.result is not None else None

    @property
    def finished(self) -> float | None:
        """When it was done, in Unix seconds."""
        return None if self.result is None else float(self.result.get("finished", 0.0))


@dataclass(frozen=True)
class Grid:
    """The cells of a grid, in its order."""

    name: str
    command: str
    digest: str
    cells: tuple[Cell, ...]
    stored_probes: frozenset[str] = frozenset()  # of those that a cell which is not done needs
    profiles: tuple[str, ...] = ()  # of its commands
    others: tuple[str, ...] = ()  # other grids under its name, a line each
    test_sizes: Sizes | None = None  # test images of each class of its data, if somebody counted

    @functools.cached_property  # every cell of a table or a sync asks
    def settings(self) -> tuple[Setting, ...]:
        """The bias settings that MA is a mean over."""
        return tuple(dict.fromkeys(cell.setting for cell in self.cells))

    @functools.cached_property  # every figure asks
    def stamp(self) -> str:
        """What its numbers are to be called wherever they stand; empty of a release's on tests."""
        held_out = any(cell.config["data"].get("validation") is not None for cell in self.cells)
        return ", ".join(filter(None, (stamp(self.profiles), HELD_OUT * held_out)))

    @property
    def title(self) -> str:
        """Its name as tables and pages are headed by, with the stamp of its profile."""
        return f"{self.name} ({self.stamp})" if self.stamp else self.name

    @functools.cached_property
    def last_epochs(self) -> str:
        """How many epochs the accuracy "last10" is a mean of."""
        return mean_of_last(cell.config for cell in self.cells)

    @functools.cached_property
    def known(self) -> dict[str, Any]:
        """What was computed of this grid already, by what it is."""
        return {}

    def methods(self) -> dict[str, list[Cell]]:
        """Return the cells of each method label."""
        groups: dict[str, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(cell.label, []).append(cell)
        return groups

    def counts(self) -> dict[CellState, int]:
        """Return how many cells are in each state; paused ones only where a search has some."""
        states = [cell.state for cell in self.cells]
        order: tuple[CellState, ...] = ("done", "running", "failed", "stale", "paused", "waiting")
        return {state: n for state in order if (n := states.count(state)) or state != "paused"}


class GridReader:
    """Reads a grid again and again; a checked result is checked again only if its file changed."""

    def __init__(
        self,
        storage: Path | str,
        grid: str,
        *,
        since: float = 0.0,
        only: Collection[str] | None = None,
    ) -> None:
        """Read `grid` of `storage`.

        Args:
            since: a cell that nobody holds and that has no news after this time (Unix seconds)
                waits: it was neither left nor has it failed.
            only: the cells to read; all of them unless given.
        """
        self._one = CellReader(storage, since=since)
        self.cells = self._one.cells
        self.curves = self._one.curves
        self.grid = grid
        self._only = only
        self._plan: tuple[float | None, dict[str, Any], list[str]] = (None, {}, [])

    @not_collected()
    def read(self) -> Grid:
        """Return the grid as it is now.

        Raises:
            ConfigError: the storage has no such grid.
        """
        refresh(self.cells.root)
        grid, labels = self._planned()
        entries = zip(grid["cells"], labels, strict=True)
        sizes = class_sizes(self.cells.root, str(grid.get("data_digest", "")))
        cells = tuple(
            self._one.read(entry, label, sizes)
            for entry, label in entries
            if self._only is None or entry["cell_id"] in self._only
        )
        probes = {cell.probe_id for cell in cells if cell.probe_id and cell.state != "done"}
        return Grid(
            name=self.grid,
            command=printable(
                redact(str(grid.get("command", ""))), 5000
            ),  # others, or older ones, wrote it
            digest=str(grid.get("data_digest", "")),
            cells=cells,
            stored_probes=frozenset(probe for probe in probes if self._one.is_stored(probe)),
            profiles=profiles_of(grid),
            others=other_grids(grid),
            test_sizes=class_sizes(self.cells.root, str(grid.get("data_digest", "")), "test"),
        )

    def _planned(self) -> tuple[dict[str, Any], list[str]]:
        """Return the grid's file and each cell's label, read anew only if it was replaced.

        Of 400 cells they are nine tenths of a look, and the live table looks once a second.
        """
        written = _written(self.cells.grid_file(self.grid.partition("@")[0]))
        if written is None or written != self._plan[0]:
            grid = self.cells.read_grid(self.grid)
            labels = method_labels([entry["config"] for entry in grid["cells"]])
            self._plan = (written, grid, labels)
        return self._plan[1], self._plan[2]


class CellReader:
    """Reads cells, which need not be of a grid."""

    def __init__(self, storage: Path | str, *, since: float = 0.0) -> None:
        """Read cells of `storage`; `since` is that of GridReader."""
        self.cells = CellStore(storage)
        self.curves = CurveStore(storage)
        self._since = since
        self._checked: dict[str, tuple[float, Mapping[str, Any] | None]] = {}

    def read(self, entry: Mapping[str, Any], label: str, sizes: Sizes | None = None) -> Cell:
        """Return the cell of an entry of a grid's file (or one like it) as it is now.

        Args:
            sizes: training images of each class of the data, (K,), if somebody counted them.
        """
        cell_id, probe_id, config = entry["cell_id"], entry["probe_id"], entry["config"]
        state: CellState = "done"
        failure = activity = holder = None
        result = self._result(cell_id)
        if result is None:
            holder = read_holder(self.cells.folder(cell_id))
            activity = self._activity(cell_id, probe_id)
            failure = self._failure(cell_id, activity)
            is_paused = (self.cells.folder(cell_id) / PAUSED).exists()
            state = self._state(activity, failure, holder, is_paused=is_paused)
        return Cell(
            cell_id=cell_id,
            probe_id=probe_id,
            config=config,
            label=label,
            setting=setting_of(config, sizes),
            state=state,
            result=result,
            failure=failure if state == "failed" else None,
            activity=activity,
            holder=holder,
        )

    def is_stored(self, probe_id: str) -> bool:
        """Say whether a probe is published; whoever reads it checks whether it is whole."""
        return (self.curves.folder(probe_id) / MANIFEST).exists()

    def _state(
        self,
        activity: Activity | None,
        failure: Mapping[str, Any] | None,
        holder: Holder | None,
        *,
        is_paused: bool,
    ) -> CellState:
        """Return the state of a cell that is not done: the lease decides, where there is one."""
        if activity is not None and holder is not None and holder.alive:
            return "running"
        if failure is not None:
            return "failed"
        if is_paused:
            return "paused"
        if activity is None or activity.news < self._since:
            return "waiting"
        return "running" if holder is None and _is_recent(activity) else "stale"

    def _result(self, cell_id: str) -> Mapping[str, Any] | None:
        written = _written(self.cells.folder(cell_id) / DONE)
        if written is None:
            return None
        if self._checked.get(cell_id, (None,))[0] != written:
            self._checked[cell_id] = (written, self.cells.result(cell_id))
        return self._checked[cell_id][1]

    def _activity(self, cell_id: str, probe_id: str | None) -> Activity | None:
        folder = self.cells.folder(cell_id)
        began = _written(folder / CONFIG)
        if began is None:
            return None
        stage: Literal["probe", "allocate"] = "allocate"
        history = folder / HISTORY
        if probe_id is not None and not history.exists() and not self.is_stored(probe_id):
            stage, history = "probe", self.curves.folder(probe_id) / HISTORY
        news = max(began, _written(history) or 0.0)
        return Activity(stage, _rows(history), began, news)

    def _failure(self, cell_id: str, activity: Activity | None) -> Mapping[str, Any] | None:
        """Return why the cell's last try failed; None if it was begun again since."""
        failed = _written(self.cells.folder(cell_id) / FAILED)
        begun_again = activity.last_own_news if activity is not None else 0.0
        if failed is None or failed < max(begun_again, self._since):
            return None
        try:
            return self.cells.failure(cell_id)
        except CorruptError as error:
            return {"error": str(error)}


def read_grid(storage: Path | str, grid: str) -> Grid:
    """Return `grid` as `storage` has it now.

    Raises:
        ConfigError: the storage has no such grid.
    """
    return GridReader(storage, grid).read()


def _rows(path: Path) -> Rows:
    """Return the rows of a history; none of a damaged one, which the cell's next run replaces."""
    try:
        return read_rows(path)
    except ValueError:
        return []


def _is_recent(activity: Activity) -> bool:
    epoch = float(activity.rows[-1].get("seconds", 0.0)) if activity.rows else 0.0
    return time.time() - activity.news < max(STALE_S, STALE_EPOCHS * epoch)


def _written(path: Path) -> float | None:
    """Return when a file was last written, in Unix seconds; None if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
