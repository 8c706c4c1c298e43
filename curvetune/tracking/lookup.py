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
    if not database.is_file():
        return None
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as connection:
            row = connection.execute(QUERY, (tag, value, experiment)).fetchone()
    except sqlite3.Error:  # busy, damaged, or of another version: the tag is told instead
        return None
    return None if row is None else FoundRun(str(row[0]), str(row[1]))
