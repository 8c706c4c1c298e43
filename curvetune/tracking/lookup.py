"""Where a run is in a local database of MLflow: without MLflow, which takes two seconds to import.

The database is only read. A server is not asked: it may be down, and `status` must not wait.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

BUSY_S = 1.0  # a driver may be writing

# MLflow 3's tables; a run is found by a tag, as tracking/mlflow.py finds it.
QUERY = """
SELECT runs.run_uuid, runs.experiment_id
FROM tags
JOIN runs ON runs.run_uuid = tags.run_uuid
JOIN experiments ON experiments.experiment_id = runs.experiment_id
WHERE tags.key = ? AND tags.value = ? AND experiments.name = ? AND runs.lifecycle_stage = 'active'
ORDER BY runs.start_time LIMIT 1
"""


# Experiments that we made, the one with the latest run first.
GRIDS = """
SELECT experiments.name, experiments.experiment_id, tags.run_uuid, EXISTS (
    SELECT 1 FROM experiment_tags
    WHERE experiment_tags.experiment_id = experiments.experiment_id AND experiment_tags.key = ?
)
FROM tags
JOIN runs ON runs.run_uuid = tags.run_uuid
JOIN experiments ON experiments.experiment_id = runs.experiment_id
WHERE tags.key = ? AND tags.value = experiments.name AND runs.lifecycle_stage = 'active'
AND experiments.lifecycle_stage = 'active'
ORDER BY (
    SELECT MAX(COALESCE(latest.end_time, latest.start_time)) FROM runs AS latest
    WHERE latest.experiment_id = experiments.experiment_id
) DESC
"""


@dataclass(frozen=True)
class FoundGrid:
    """A grid in MLflow."""

    name: str
    experiment_id: str
    run_id: str  # of the run of the grid
    has_view: bool

    def page(self, share_key: str) -> str:
        """Return the page of its methods, behind the address of the server."""
        view = f"?viewStateShareKey={share_key}" if self.has_view else ""
        return f"/#/experiments/{self.experiment_id}/runs{view}"

    @property
    def run_page(self) -> str:
        """The page of the run of the grid, with its note and files."""
        return FoundRun(self.run_id, self.experiment_id).page


@dataclass(frozen=True)
class FoundRun:
    """A run of MLflow."""

    run_id: str
    experiment_id: str

    @property
    def page(self) -> str:
        """Its page, behind the address of the server."""
        return f"/#/experiments/{self.experiment_id}/runs/{self.run_id}"


def find_run(database: Path, experiment: str, tag: str, value: str) -> FoundRun | None:
    """Return the run of an experiment that has a tag; None if it cannot be found there."""
    rows = _asked(database, QUERY, (tag, value, experiment))
    return FoundRun(str(rows[0][0]), str(rows[0][1])) if rows else None


def find_grids(database: Path, tag: str, view: str) -> list[FoundGrid]:
    """Return the grids that a database shows, the latest first; none where it cannot be read.

    Args:
        tag: that the run of a grid is found by.
        view: the experiment's tag that holds the view of its methods.
    """
    rows = _asked(database, GRIDS, (view, tag))
    return [FoundGrid(str(a), str(b), str(c), bool(d)) for a, b, c, d in rows]


def _asked(database: Path, query: str, values: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Return the rows of an answer; none of a database that is busy, damaged or another version's.

    Whoever asks then says something simpler.
    """
    if not database.is_file():
        return []
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
