"""One MLflow 3 server or database: how it is reached, written to, and what its errors say.

Only the client is used, never MLflow's global "active run": one process may serve several grids.
"""

import contextlib
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

# Read by MLflow as it is imported or used; what the user has set wins.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would report each call to its makers
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for data
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # by default 7, which is minutes; we try again anyway
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds; by default 120
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from curvetune.errors import BackendError  # noqa: E402
from curvetune.tracking.address import folder_in  # noqa: E402
from curvetune.tracking.artifacts import write_artifacts  # noqa: E402
from curvetune.tracking.base import Run, database_file, is_remote, shown  # noqa: E402
from curvetune.tracking.database import Database  # noqa: E402
from curvetune.tracking.moved import bring_along, moved_words  # noqa: E402
from curvetune.tracking.reasons import reason  # noqa: E402

for _logger in ("mlflow", "alembic"):  # "Creating initial MLflow database tables..."
    logging.getLogger(_logger).setLevel(logging.ERROR)
# What goes wrong in its database it raises as well, and `errors` tells that in one line.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logger = logging.getLogger(__name__)


class Connection:
    """MLflow's client for one address."""

    def __init__(self, uri: str, storage: Path | str) -> None:
        """Use the MLflow at `uri`; a database that was moved with `storage` is corrected first.

        Raises:
            BackendError: it cannot be used.
        """
        self.uri = uri
        self._database = Database(uri)
        with self._handled():
            self._database.create(MlflowClient)
            self.client = MlflowClient(self._database.uri)
        self._bring_along(storage)
        self._database.opened()

    @property
    def writer(self) -> MlflowClient:
        """The client, for what changes something.

        Raises:
            BackendError: this user cannot write the database.
        """
        if (refusal := self._database.refusal()) is not None:
            raise self._error(refusal)
        return self.client

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what MLflow raises into one line; refuse a database that nobody else sees."""
        self._database.check()
        with self._handled():
            yield

    def write_files(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Keep files as artifacts of a run.

        MLflow would copy a file that another user made together with its times, which only its
        owner may set: so what is kept in a folder here is written there.
        """
        folder = None if is_remote(self.uri) else folder_in(run.artifacts)
        if folder is not None:
            write_artifacts(folder, files)
            return
        with tempfile.TemporaryDirectory(prefix="curvetune-") as name:
            write_artifacts(Path(name), files)
            self.writer.log_artifacts(run.run_id, name)

    def _bring_along(self, storage: Path | str) -> None:
        database = database_file(self.uri)
        if database is None:
            return
        try:
            moved = bring_along(database, Path(storage))
        except sqlite3.Error as error:
            why = self._database.refusal() or str(error)
            raise self._error(
                f"it names files where the storage was before it was moved, and cannot be "
                f"corrected ({why})"
            ) from error
        if moved:
            logger.warning("%s", moved_words(database, moved, storage))

    @contextlib.contextmanager
    def _handled(self) -> Iterator[None]:
        """Turn what MLflow raises into one line that says where, and what to do."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise self._error(reason(error, self.uri)) from error

    def _error(self, why: str) -> BackendError:
        return BackendError(f"MLflow at {shown(self.uri)}: {why}")
