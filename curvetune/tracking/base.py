"""What a tracker owes the code that keeps it up to date (tracking/sync/thread.py), and where it is.

Nothing here imports MLflow, which takes two seconds.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from curvetune.errors import ConfigError
from curvetune.system.mounts import is_network, kind_of
from curvetune.system.redact import shown as shown  # for messages
from curvetune.tracking.address import address_of, check_options, path_in

# The tag that a run is found by: of the run of a grid, of a method, of a cell.
GRID_TAG = "curvetune.grid"
METHOD_TAG = "curvetune.method"
CELL_TAG = "curvetune.cell_id"
KEY_TAGS = frozenset({GRID_TAG, METHOD_TAG, CELL_TAG})
LEVEL_TAG = "curvetune.level"  # grid, method or cell: what the page of runs is filtered by
LABEL_TAG = "curvetune.label"  # of its method, on the run of a cell alone: to group by

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


@dataclass(frozen=True)
class Point:
    """One value of a metric. The time stamp is the original's: a replay then adds nothing."""

    key: str
    value: float
    step: int
    time: float  # Unix seconds


@dataclass(frozen=True)
class RunSpec:
    """A run as it should be."""

    experiment: str
    key: tuple[str, str]  # the tag that it is found by, and its value
    name: str
    parent: str | None  # id of a run
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0  # Unix seconds


@dataclass(frozen=True)
class DataSpec:
    """The data that a run was trained on, as MLflow's list of data sets shows it."""

    name: str
    digest: str  # at most 36 characters
    source: str  # where the images are from
    profile: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Run:
    """A run as the tracker has it."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    artifacts: str = ""  # address of the folder of its files


class Tracker(Protocol):
    """Shows runs and metrics. Every member raises BackendError where it cannot be reached."""

    def run(self, spec: RunSpec) -> Run:
        """Find the run of `spec`, or make it; set the tags and params that it lacks."""
        ...

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Add `points` to a run and then set `tags`: what a tag says of them is never too much."""
        ...

    def set_status(self, run: Run, status: str, ended: float | None) -> None:
        """Make a run RUNNING again, or let it have ended as FINISHED, FAILED or KILLED."""
        ...

    def write_files(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Keep files of a run, by name; a name may have folders in it."""
        ...

    def use_data(self, run: Run, data: DataSpec) -> None:
        """Say what a run was trained on; a second time adds nothing."""
        ...

    def describe(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment that has a run."""
        ...

    def drop(self, run: Run) -> None:
        """Forget a run that shows what is no longer true."""
        ...


class NullTracker:
    """Shows nothing."""

    def run(self, spec: RunSpec) -> Run:
        """Return a run that nobody will see."""
        return Run("", "RUNNING", dict(spec.tags))

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def set_status(self, run: Run, status: str, ended: float | None) -> None:
        """Do nothing."""

    def write_files(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Do nothing."""

    def use_data(self, run: Run, data: DataSpec) -> None:
        """Do nothing."""

    def describe(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def drop(self, run: Run) -> None:
        """Do nothing."""


def resolve_uri(storage: Path | str, uri: str | None) -> str:
    """Return where MLflow keeps its runs: `uri`, else $MLFLOW_TRACKING_URI, else the storage.

    Raises:
        ConfigError: it is a folder, which MLflow no longer supports, or an SQLite database on a
            network file system, or in a folder that MLflow cannot find.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(storage)
    check_options(uri)
    if (database := database_file(uri)) is not None:
        _refuse_on_network(database)
    scheme = re.match(r"([a-zA-Z][\w+.-]*):", uri)
    if uri != "databricks" and (scheme is None or scheme[1] == "file"):
        raise ConfigError(
            f"--tracking-uri {shown(uri)}: MLflow's file store is not supported; give a server "
            f"(http://host:5000) or a database (sqlite:////path/of/{DATABASE}), or leave it "
            f"out (and unset MLFLOW_TRACKING_URI) for {DATABASE} in the storage"
        )
    return uri


def default_uri(storage: Path | str) -> str:
    """Return the database in the storage, which can be deleted and is then rebuilt.

    Raises:
        ConfigError: MLflow cannot use a database there.
    """
    return address_of(Path(storage).absolute() / DATABASE)


def is_remote(uri: str) -> bool:
    """Say whether `uri` is a server, which may be down, and keeps artifacts by itself."""
    return uri.partition(":")[0].partition("+")[0] != "sqlite"


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for anything else, and for one in memory."""
    path = path_in(uri)
    return None if path is None else Path(path)


def _refuse_on_network(database: Path) -> None:
    kind = kind_of(database)
    if is_network(kind):
        raise ConfigError(
            f"{database}: SQLite's locks do not hold on a network file system ({kind}), so this "
            f"database of MLflow would be damaged sooner or later; give a server (--tracking-uri "
            f"http://host:5000) or a database on a local disk (--tracking-uri "
            f"sqlite:////local/path/{DATABASE}), or keep all results on a local disk (--storage)"
        )
