"""What the tests of tracking ask MLflow, and the little grid that they track."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage_fixtures import (
    DIGEST,
    EPOCHS,
    START,
    add_epochs,
    add_probe_epochs,
    finish,
    make_cells,
    write_grid,
)

from curvetune.config import CellConfig
from curvetune.store import CellStore, CurveStore
from curvetune.tracking.base import Tracker, default_uri

CROSS: dict[str, Any] = {"name": "cross-entropy"}
CURVE: dict[str, Any] = {"name": "curvenet"}
Points = Counter[tuple[str, str, int, int, float]]


def new_tracker(root: Path, uri: str | None = None) -> Tracker:
    """A tracker that knows nothing yet, as in a new process."""
    from curvetune.tracking.mlflow import MlflowTracker

    return MlflowTracker(uri or default_uri(root), root)


def one_by_one(root: Path, *, pause_s: float = 0.15) -> Iterator[CellConfig]:
    """Let the cells go on epoch by epoch, each to its end, with time to track them."""
    for k, cell in enumerate(the_cells()):
        start = START + 100 * k
        if cell.method.needs_probe:
            for _ in range(EPOCHS):
                add_probe_epochs(root, cell, 1, start=start)
                time.sleep(pause_s)
                yield cell
            start += 20
        for _ in range(EPOCHS - 1):
            add_epochs(root, cell, 1, start=start)
            time.sleep(pause_s)
            yield cell
        finish(root, cell, 60 + k, start=start)
        yield cell


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


def expected_points(root: Path, cells: Sequence[CellConfig]) -> Points:
    """What MLflow must show of cells, read from their files with nothing of `report`."""
    found: Points = Counter()
    for cell in cells:
        folders = {"allocate": CellStore(root).folder(cell.cell_id(DIGEST))}
        if (probe_id := cell.probe_id(DIGEST)) is not None:
            folders["probe"] = CurveStore(root).folder(probe_id)
        steps = [0]
        for stage, folder in folders.items():
            path = folder / "history.jsonl"
            for line in path.read_text().splitlines() if path.exists() else []:
                row = json.loads(line)
                when = round(row.pop("time") * 1000)
                step = row.pop("epoch")
                steps += [step] if stage == "allocate" else []
                for key in row.keys() - {"seconds"}:
                    name = key if key in ("accuracy", "weight_gap") else f"{stage}/{key}"
                    found[cell_name(cell), name, step, when, float(row[key])] += 1
        if (folders["allocate"] / "DONE.json").exists():
            done = json.loads((folders["allocate"] / "DONE.json").read_text())
            numbers = {key: done[key] for key in ("accuracy_best", "accuracy_last10")}
            numbers |= {f"seconds/{stage}": value for stage, value in done["seconds"].items()}
            for key, value in numbers.items():
                when = round(done["finished"] * 1000)
                found[cell_name(cell), key, max(steps), when, float(value)] += 1
    return found


def assert_up_to_date(
    root: Path, cells: Sequence[CellConfig], grid: str = "small", uri: str | None = None
) -> None:
    """Compare all runs, params, tags and points with the files of a grid that is done."""
    runs = runs_of(root, grid, uri)
    methods = {cell.method.name for cell in cells}
    assert runs.keys() == {grid, *methods, *map(cell_name, cells)}  # and no name twice
    points = points_of(root, grid, uri)
    once = Counter((name, key, step) for name, key, step, _, _ in points.elements())
    assert set(once.values()) == {1}
    names = set(map(cell_name, cells))
    of_cells = Counter({point: n for point, n in points.items() if point[0] in names})
    assert of_cells == expected_points(root, cells)
    for cell in cells:
        run = runs[cell_name(cell)]
        config = json.loads(
            (CellStore(root).folder(cell.cell_id(DIGEST)) / "config.json").read_text()
        )
        assert run.info.status == "FINISHED"
        assert run.data.tags["curvetune.cell_id"] == cell.cell_id(DIGEST)
        assert run.data.tags["curvetune.probe_id"] == (cell.probe_id(DIGEST) or "")
        assert run.data.tags["mlflow.parentRunId"] == runs[cell.method.name].info.run_id
        params = run.data.params
        assert params["method"] == config["method"].pop("name")
        assert float(params["imbalance"]) == config["bias"]["imbalance"]
        assert int(params["seed"]) == config["seed"]
        assert params.keys() >= config["method"].keys()
    for method in methods:
        of_it = [cell for cell in cells if cell.method.name == method]
        files = [CellStore(root).folder(cell.cell_id(DIGEST)) / "DONE.json" for cell in of_it]
        accuracies = [json.loads(path.read_text())["accuracy"] for path in files]
        assert runs[method].data.metrics["ma"] == round(sum(accuracies) / len(accuracies), 2)
        assert runs[method].info.status == "FINISHED"
        assert runs[method].data.tags["mlflow.parentRunId"] == runs[grid].info.run_id
    assert runs[grid].info.status == "FINISHED"
    assert "curvenet" in runs[grid].data.tags["mlflow.note.content"]


@contextmanager
def mlflow_server(root: Path) -> Iterator[int]:
    """The port of what `curvetune ui` starts; at the end, Ctrl-C must end it."""
    (root / "mlflow.db").touch()  # MLflow makes its tables in an empty file
    port = free_port()
    code = "import sys; from pathlib import Path; from curvetune.cli.info import ui\n"
    code += "ui(Path(sys.argv[1]), int(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(root), str(port)]
    with (
        (root / "log").open("w") as log,
        subprocess.Popen(command, cwd=root, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(30)
    assert ended == 0, (root / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer")
