"""Sends the metrics, params and tags of runs to MLflow, as it takes them.

What would be cut or refused is known before (tracking/limits.py). Should MLflow refuse a value all
the same, it costs that value alone, which is said.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence

from curvetune.tracking import limits
from curvetune.tracking.base import Point, Run, RunSpec, shown
from curvetune.tracking.connection import Connection

# after connection.py, which sets what MLflow reads as it is imported
# isort: split
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from curvetune.tracking.reasons import first_line, is_refusal

INFINITE_TAG = "curvetune.infinite"  # which metrics were infinite, and where; there they are NaN
SHOWN = 80  # characters of a value in a message
logger = logging.getLogger(__name__)

_told: set[tuple[str, ...]] = set()  # what this process has said of values


class Values:
    """Sends values to the runs of one MLflow."""

    def __init__(self, mlflow: Connection) -> None:
        self._mlflow = mlflow

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Add `points` to a run and then set the `tags` that differ."""
        sent, infinite = limits.without_infinity(points)
        if infinite:
            tags = {**tags, INFINITE_TAG: _with(run.tags.get(INFINITE_TAG), infinite)}
        self._tell_names([point.key for point in points], "metric")
        self._send(run, [Metric(p.key, p.value, milliseconds(p.time), p.step) for p in sent], tags)

    def complete(self, run: Run, spec: RunSpec, tags: Mapping[str, str]) -> None:
        """Set the tags that differ and the params that lack; a param can never be changed."""
        self._send(run, [], tags)
        fitted = limits.fitted(spec.params, "params")
        self._tell_names(spec.params, "param")
        self._tell_conflicts(run, spec, fitted.values)
        lacking = {k: v for k, v in fitted.values.items() if k not in run.params}
        self._write_whole(run, fitted, lacking, "params")
        for part in limits.batches(lacking):
            try:
                self._log_params(run, part)
            except MlflowException as error:
                if not is_refusal(error):
                    raise
                self._log_one_by_one(run, spec, part)

    def _send(self, run: Run, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        """Add metrics and set tags; the whole texts of tags go before them.

        Metrics and tags share a request, in which a server stores the metrics first. If it refuses
        a tag, the metrics are sent without it; what was stored already is not doubled.
        """
        fitted = limits.fitted(tags, "tags")
        self._tell_names(tags, "tag")
        changed = {k: v for k, v in fitted.values.items() if run.tags.get(k) != v}
        self._write_whole(run, fitted, changed, "tags")
        for part in list(limits.batches(changed)) or [{}]:
            if self._refusal(run, metrics, part) is not None:
                self._refusal(run, metrics, {})
                self._set_one_by_one(run, part)
            metrics = []

    def _set_one_by_one(self, run: Run, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            if (refusal := self._refusal(run, [], {key: value})) is not None:
                self._tell("tag", key, f"is refused: {refusal}")

    def _refusal(self, run: Run, metrics: Sequence[Metric], tags: Mapping[str, str]) -> str | None:
        """Send metrics and tags in one request; return why MLflow does not take these tags."""
        if not metrics and not tags:
            return None
        try:
            self._mlflow.writer.log_batch(
                run.run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items()]
            )
        except MlflowException as error:
            if tags and is_refusal(error):
                return first_line(error)
            raise
        run.tags |= tags
        return None

    def _log_params(self, run: Run, params: Mapping[str, str]) -> None:
        entities = [Param(k, v) for k, v in params.items()]
        self._mlflow.writer.log_batch(run.run_id, params=entities)
        run.params |= params

    def _log_one_by_one(self, run: Run, spec: RunSpec, params: Mapping[str, str]) -> None:
        """Set params of which MLflow refused one, perhaps since another process set it."""
        run.params |= self._mlflow.client.get_run(run.run_id).data.params
        self._tell_conflicts(run, spec, params)
        for key, value in params.items():
            if key in run.params:
                continue
            try:
                self._log_params(run, {key: value})
            except MlflowException as error:
                if not is_refusal(error):
                    raise
                self._tell("param", key, f"is refused: {first_line(error)}")

    def _write_whole(
        self, run: Run, fitted: limits.Fitted, wanted: Mapping[str, str], kind: str
    ) -> None:
        """Keep the whole texts of the `wanted` values that were shortened."""
        whole = {limits.file_of(kind, k): v for k, v in fitted.files.items() if k in wanted}
        if whole:
            self._mlflow.write_files(run, whole)

    def _tell_conflicts(self, run: Run, spec: RunSpec, params: Mapping[str, str]) -> None:
        """Say, once for each experiment, which param another value was kept for."""
        for key, value in params.items():
            if (there := run.params.get(key, value)) != value:
                what = (
                    f"is {limits.cut(there, SHOWN)!r} in run {spec.name!r} of experiment "
                    f"{spec.experiment!r}, and {limits.cut(value, SHOWN)!r} here; MLflow never "
                    f"changes a param, so it stays as it is there"
                )
                self._tell("param", key, what, once=spec.experiment)

    def _tell_names(self, names: Iterable[str], kind: str) -> None:
        for name in names:
            if (key := limits.key_of(name)) != name:
                self._tell(kind, name, f"has a name that MLflow does not take; there it is {key!r}")

    def _tell(self, kind: str, name: str, what: str, *, once: str | None = None) -> None:
        """Say something of a value: once in a process, or once for each `once` and name."""
        said = (self._mlflow.uri, kind, name, once or what)
        if said not in _told:
            _told.add(said)
            logger.warning("MLflow at %s: %s %r %s", shown(self._mlflow.uri), kind, name, what)


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow keeps it."""
    return round(seconds * 1000)


def _with(old: str | None, more: Mapping[str, str]) -> str:
    """Return a tag of JSON with more in it."""
    try:
        known = json.loads(old or "{}")
    except ValueError:  # it was too long for a tag
        known = {}
    return json.dumps({**known, **more})
