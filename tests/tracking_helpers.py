"""What the tests of tracking ask MLflow, and the little grid that they track."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage_fixtures import START, finish, make_cells, write_grid

from curvetune.config import CellConfig
from curvetune.tracking.base import Tracker, default_uri

CROSS: dict[str, Any] = {"name": "cross-entropy"}
CURVE: dict[str, Any] = {"name": "curvenet"}
Points = Counter[tuple[str, str, int, int, float]]


def new_tracker(root: Path, uri: str | None = None) -> Tracker:
    """A tracker that knows nothing yet, as in a new process."""
    from curvetune.tracking.mlflow import MlflowTracker

    return MlflowTracker(uri or default_uri(root), root)


def runs_of(root: Path, grid: str = "small", uri: str | None = None) -> dict[str, Any]:
    """The runs of a grid by name, with every name once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or default_uri(root))
    experiment = client.get_experiment_by_name(grid)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def points_of(root: Path, grid: str = "small", uri: str | None = None) -> Points:
    """Every point of every run, counted."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or default_uri(root))
    return Counter(
        (name, key, point.step, point.timestamp, point.value)
        for name, run in runs_of(root, grid, uri).items()
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    )


def history(points: Points, name: str, key: str) -> dict[int, float]:
    """The values of one metric by step; each step once."""
    found = [(step, value) for n, k, step, _, value in points.elements() if (n, k) == (name, key)]
    assert len(dict(found)) == len(found)
    return dict(found)


def cell_name(cell: CellConfig, label: str | None = None) -> str:
    bias = cell.bias
    where = f"imbalance {bias.imbalance:g}, noise {bias.noise_rate:g}, seed {cell.seed}"
    return f"{label or cell.method.name}, {where}"


def the_cells(methods: Sequence[Mapping[str, Any]] = (CROSS, CURVE)) -> list[CellConfig]:
    """Two settings, one seed."""
    return make_cells(methods, imbalances=(1, 10), noise_rates=(0.4,), seeds=(0,))


def small(
    root: Path, done: int, *, methods: Sequence[Mapping[str, Any]] = (CROSS, CURVE)
) -> list[CellConfig]:
    """Let the first `done` cells finish one after the other, with accuracies from 60 on."""
    cells = the_cells(methods)
    write_grid(root, cells)
    for k, cell in enumerate(cells[:done]):
        finish(root, cell, 60 + k, start=START + 100 * k)
    return cells
