"""Shows runs and metrics in MLflow 3: experiments, runs, and what belongs to them.

What is shown of a grid and a cell is decided in sync/: names and tags in sync/runs.py, params and
points in sync/points.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from curvetune.tracking import limits
from curvetune.tracking.base import (
    ARTIFACTS,
    KEY_TAGS,
    DataSpec,
    Point,
    Run,
    RunSpec,
    is_remote,
)
from curvetune.tracking.connection import Connection

# after connection.py, which sets what MLflow reads as it is imported
# isort: split
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag
from mlflow.entities import Run as MlflowRun
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from curvetune.tracking.values import Values, milliseconds

PARENT_TAG = "mlflow.parentRunId"
PAGE = 1000  # runs per answer


class MlflowTracker:
    """A `Tracker` that writes to one MLflow server or database."""

    def __init__(self, uri: str, storage: Path | str) -> None:
        """Use the MLflow at `uri`; without a server, artifacts are kept in the storage.

        Raises:
            BackendError: it cannot be used.
        """
        self._artifacts = None if is_remote(uri) else Path(storage).absolute() / ARTIFACTS
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, tuple[str, str]], Run] = {}
        self._mlflow = Connection(uri, storage)
        self._values = Values(self._mlflow)

    def run(self, spec: RunSpec) -> Run:
        """Find the run of `spec`, or make it; set the tags and params that it lacks."""
        with self._mlflow.errors():
            experiment_id = self._experiment(spec.experiment)
            tags = {**spec.tags, spec.key[0]: spec.key[1]}
            if spec.parent is not None:
                tags[PARENT_TAG] = spec.parent
            run = self._runs.get((spec.experiment, spec.key))
            if run is None:
                run = self._find_or_create(experiment_id, spec, tags)
                self._runs[spec.experiment, spec.key] = run
            self._values.complete(run, spec, tags)
            return run

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Add `points` to a run and then set `tags`."""
        with self._mlflow.errors():
            self._values.log(run, points, tags)

    def set_status(self, run: Run, status: str, ended: float | None) -> None:
        """Make a run RUNNING again, or let it have ended."""
        if run.status == status:
            return
        with self._mlflow.errors():
            if status == "RUNNING":
                self._mlflow.writer.update_run(run.run_id, status)
            else:
                end = None if ended is None else milliseconds(ended)
                self._mlflow.writer.set_terminated(run.run_id, status, end)
        run.status = status

    def write_files(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Keep files as artifacts of a run."""
        with self._mlflow.errors():
            self._mlflow.write_files(run, files)

    def use_data(self, run: Run, data: DataSpec) -> None:
        """Say what a run was trained on."""
        dataset = Dataset(
            name=limits.cut(data.name, limits.LONGEST_DATA_NAME),
            digest=data.digest,
            source_type="local",
            source=json.dumps({"uri": data.source}),
            profile=json.dumps(data.profile),
        )
        tag = InputTag(key=MLFLOW_DATASET_CONTEXT, value="training")
        with self._mlflow.errors():
            self._mlflow.writer.log_inputs(run.run_id, datasets=[DatasetInput(dataset, [tag])])

    def describe(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        with self._mlflow.errors():
            for key, value in tags.items():
                value = limits.cut(value, limits.LONGEST_EXPERIMENT_TAG)
                self._mlflow.writer.set_experiment_tag(self._experiment(experiment), key, value)

    def drop(self, run: Run) -> None:
        """Move a run to MLflow's trash."""
        with self._mlflow.errors():
            self._mlflow.writer.delete_run(run.run_id)
        self._runs = {key: kept for key, kept in self._runs.items() if kept is not run}

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment, made if it is not there; learn which runs it has."""
        if name not in self._experiments:
            found = self._mlflow.client.get_experiment_by_name(name) or self._create(name)
            if found.lifecycle_stage == "deleted":  # its name stays taken
                self._mlflow.writer.restore_experiment(found.experiment_id)
            self._learn(name, found.experiment_id)
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _create(self, name: str) -> Experiment:
        location = None if self._artifacts is None else (self._artifacts / name).as_uri()
        return self._mlflow.client.get_experiment(
            self._mlflow.writer.create_experiment(name, location)
        )

    def _learn(self, experiment: str, experiment_id: str) -> None:
        """Remember the runs of an experiment: one question instead of one for each run.

        Of runs with the same key all but the first are forgotten. There are such if a server
        made a run long after it was asked to, when the one who asked had given up and asked anew.
        """
        for found in list(self._all_runs(experiment_id)):
            for key in KEY_TAGS & found.data.tags.keys():
                kept = self._runs.setdefault((experiment, (key, found.data.tags[key])), _run(found))
                if kept.run_id != found.info.run_id:
                    self._mlflow.writer.delete_run(found.info.run_id)

    def _all_runs(self, experiment_id: str) -> Iterator[MlflowRun]:
        token = None
        while True:
            page = self._mlflow.client.search_runs(
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
        quote = '"' if "'" in value else "'"
        found = self._mlflow.client.search_runs(
            [experiment_id], f"tags.`{key}` = {quote}{value}{quote}", max_results=1
        )
        fitted = limits.fitted(tags, "tags")  # of what is shortened, the whole text goes first
        return _run(
            found[0]
            if found
            else self._mlflow.writer.create_run(
                experiment_id,
                start_time=milliseconds(spec.began) if spec.began else None,
                tags={k: v for k, v in fitted.values.items() if k not in fitted.files},
                run_name=limits.cut(spec.name, limits.LONGEST_KEY),
            )
        )


def _run(found: MlflowRun) -> Run:
    info, data = found.info, found.data
    return Run(info.run_id, info.status, dict(data.tags), dict(data.params), info.artifact_uri)
