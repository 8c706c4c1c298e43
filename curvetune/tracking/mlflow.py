"""Shows runs and metrics in MLflow 3.

Only the client is used, never MLflow's global "active run": one process may serve several grids.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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

import requests  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities import Run as MlflowRun  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from curvetune.errors import BackendError  # noqa: E402
from curvetune.redact import redact  # noqa: E402
from curvetune.tracking.base import (  # noqa: E402
    ARTIFACTS,
    DATABASE,
    KEY_TAGS,
    DataSpec,
    Point,
    Run,
    RunSpec,
    is_remote,
    shown,
)
from curvetune.tracking.database import Database  # noqa: E402

PARENT_TAG = "mlflow.parentRunId"
PAGE = 1000  # runs per answer
UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # cut in the middle of an answer
)

for _logger in ("mlflow", "alembic"):  # "Creating initial MLflow database tables..."
    logging.getLogger(_logger).setLevel(logging.ERROR)


class MlflowTracker:
    """A `Tracker` that writes to one MLflow server or database."""

    def __init__(self, uri: str, storage: Path | str) -> None:
        """Use the MLflow at `uri`; without a server, artifacts are kept in the storage.

        Raises:
            BackendError: it cannot be used.
        """
        self._uri = uri
        self._artifacts = None if is_remote(uri) else Path(storage).absolute() / ARTIFACTS
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, tuple[str, str]], Run] = {}
        self._database = Database(uri)
        with self._handled():
            self._database.create(MlflowClient)
            self._client = MlflowClient(self._database.uri)
        self._database.opened()

    def run(self, spec: RunSpec) -> Run:
        """Find the run of `spec`, or make it; set the tags and params that it lacks."""
        with self._errors():
            experiment_id = self._experiment(spec.experiment)
            tags = {**spec.tags, spec.key[0]: spec.key[1]}
            if spec.parent is not None:
                tags[PARENT_TAG] = spec.parent
            run = self._runs.get((spec.experiment, spec.key))
            if run is None:
                run = self._find_or_create(experiment_id, spec, tags)
                self._runs[spec.experiment, spec.key] = run
            self._complete(run, tags, spec.params)
            return run

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Add `points` to a run and then set `tags`."""
        changed = _changed(run, tags)
        metrics = [Metric(p.key, p.value, _milliseconds(p.time), p.step) for p in points]
        if not metrics and not changed:
            return
        with self._errors():
            # the server stores metrics before tags
            self._client.log_batch(
                run.run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in changed.items()]
            )
        run.tags |= changed

    def set_status(self, run: Run, status: str, ended: float | None) -> None:
        """Make a run RUNNING again, or let it have ended."""
        if run.status == status:
            return
        with self._errors():
            if status == "RUNNING":
                self._client.update_run(run.run_id, status)
            else:
                end = None if ended is None else _milliseconds(ended)
                self._client.set_terminated(run.run_id, status, end)
        run.status = status

    def write_files(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Keep files as artifacts of a run."""
        with self._errors(), tempfile.TemporaryDirectory(prefix="curvetune-") as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(run.run_id, folder)

    def use_data(self, run: Run, data: DataSpec) -> None:
        """Say what a run was trained on."""
        dataset = Dataset(
            name=data.name,
            digest=data.digest,
            source_type="local",
            source=json.dumps({"uri": data.source}),
            profile=json.dumps(data.profile),
        )
        tag = InputTag(key=MLFLOW_DATASET_CONTEXT, value="training")
        with self._errors():
            self._client.log_inputs(run.run_id, datasets=[DatasetInput(dataset, [tag])])

    def describe(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        with self._errors():
            for key, value in tags.items():
                self._client.set_experiment_tag(self._experiment(experiment), key, value)

    def drop(self, run: Run) -> None:
        """Move a run to MLflow's trash."""
        with self._errors():
            self._client.delete_run(run.run_id)
        self._runs = {key: kept for key, kept in self._runs.items() if kept is not run}

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment, made if it is not there; learn which runs it has."""
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name) or self._create(name)
            if found.lifecycle_stage == "deleted":  # its name stays taken
                self._client.restore_experiment(found.experiment_id)
            self._learn(name, found.experiment_id)
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _create(self, name: str) -> Experiment:
        location = None if self._artifacts is None else (self._artifacts / name).as_uri()
        return self._client.get_experiment(self._client.create_experiment(name, location))

    def _learn(self, experiment: str, experiment_id: str) -> None:
        """Remember the runs of an experiment: one question instead of one for each run.

        Of runs with the same key all but the first are forgotten. There are such if a server
        made a run long after it was asked to, when the one who asked had given up and asked anew.
        """
        for found in list(self._all_runs(experiment_id)):
            for key in KEY_TAGS & found.data.tags.keys():
                kept = self._runs.setdefault((experiment, (key, found.data.tags[key])), _run(found))
                if kept.run_id != found.info.run_id:
                    self._client.delete_run(found.info.run_id)

    def _all_runs(self, experiment_id: str) -> Iterator[MlflowRun]:
        token = None
        while True:
            page = self._client.search_runs(
                [experiment_id],
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _find_or_create(self, experiment_id: str, spec: RunSpec, tags: dict[str, str]) -> Run:
        """Look once more, since another driver may have made the run meanwhile; or make it."""
        key, value = spec.key
        found = self._client.search_runs(
            [experiment_id], f"tags.`{key}` = '{value}'", max_results=1
        )
        return _run(
            found[0]
            if found
            else self._client.create_run(
                experiment_id,
                start_time=_milliseconds(spec.began) if spec.began else None,
                tags=tags,
                run_name=spec.name,
            )
        )

    def _complete(self, run: Run, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Set the tags that differ and the params that lack; a param can never be changed."""
        changed = _changed(run, tags)
        lacking = {key: value for key, value in params.items() if key not in run.params}
        if changed or lacking:
            self._client.log_batch(
                run.run_id,
                params=[Param(k, v) for k, v in lacking.items()],
                tags=[RunTag(k, v) for k, v in changed.items()],
            )
            run.tags |= changed
            run.params |= lacking

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what MLflow raises into one line; refuse a database that nobody else sees."""
        self._database.check()
        with self._handled():
            yield

    @contextlib.contextmanager
    def _handled(self) -> Iterator[None]:
        """Turn what MLflow raises into one line that says where, and what to do."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise BackendError(f"MLflow at {shown(self._uri)}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        if _is_unreachable(error):
            return "cannot be reached (is it running, and is the address right?)"
        reason = (redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:300]
        if is_remote(self._uri):
            return reason
        if "database is locked" in reason:
            return f"{reason} (another process writes to it)"
        return f"{reason} ({DATABASE} holds copies only: delete it, and it is made anew)"


def _is_unreachable(error: BaseException) -> bool:
    """Say whether no server answered: MLflow tells in the text only, or as what it handled."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, UNREACHABLE):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _run(found: MlflowRun) -> Run:
    return Run(found.info.run_id, found.info.status, dict(found.data.tags), dict(found.data.params))


def _changed(run: Run, tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if run.tags.get(key) != value}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
