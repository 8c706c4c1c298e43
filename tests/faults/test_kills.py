"""F1, F2, F4, F6: whatever is killed, the same command again ends with the same results."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grids
import pytest

from curvetune.tracking.base import DATABASE, RunSpec, default_uri

pytestmark = [pytest.mark.ray, pytest.mark.faults]

LONGEST_S = 5.0  # from the first trial to the kill; where one cell runs at a time, all take about 8
KILLS = (1, 1, 1, 2)  # of a round, one of these at random; then it is left to end


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables with next to nothing in them."""
    from curvetune.tracking.mlflow import MlflowTracker

    root = tmp_path_factory.mktemp("database")
    MlflowTracker(default_uri(root), root).run(
        RunSpec("made", ("curvetune.grid", "made"), "made", None)
    )
    return root / DATABASE


def ray_workers() -> list[int]:
    """Return the processes of our cluster that run a trial at this moment."""
    found = []
    for pid in grids.descendants(os.getpid()):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if command.startswith(b"ray::ImplicitFunc.train"):
                found.append(pid)
    return found


def one_round(space: Path, storage: Path, address: str, draw: random.Random, slots: int) -> int:
    """Run the grid again and again, killing its driver or a worker, until it is done."""
    kills, most = 0, draw.choice(KILLS)
    while True:
        process = grids.fork(space, storage, "--address", address, slots=slots)
        early = draw.random() < 0.2  # before a trial runs, most likely
        while process.poll() is None and not (early or ray_workers()):
            time.sleep(0.2)  # each look is at every process of the machine
        deadline = time.monotonic() + draw.uniform(0.0, LONGEST_S / slots)
        while process.poll() is None and (kills == most or time.monotonic() < deadline):
            time.sleep(0.05)
        if process.poll() is None:
            workers = ray_workers()
            if workers and draw.random() < 0.6:  # a worker; the driver lives, and goes on
                os.kill(draw.choice(workers), signal.SIGKILL)
            else:
                grids.kill_tree(process.pid)
            kills += 1
        output = process.communicate(timeout=200)
        if process.returncode == 0:
            return kills
        assert process.returncode == -signal.SIGKILL, output


@pytest.mark.slow
@pytest.mark.parametrize("k", range(int(os.environ.get("CURVETUNE_FAULT_ROUNDS", 20))))
def test_f1_a_grid_killed_at_random_times_ends_as_an_undisturbed_one(
    space: Path,
    clean: Path,
    address: str,
    empty_database: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    k: int,
) -> None:
    slots = 2 if k % 10 == 0 else 1  # an import of PyTorch for each slot and kill is what it costs
    if k % 4:  # two seconds of MLflow's, in which rounds 0, 4, 8 … can be killed
        shutil.copy(empty_database, tmp_path / DATABASE)
    kills = one_round(space, tmp_path, address, random.Random(k), slots)
    record_property("kills", kills)
    assert grids.contents(tmp_path) == grids.contents(clean)
    assert grids.starts(tmp_path) <= grids.CELLS + slots * kills
    assert grids.tracked(tmp_path) == (grids.CELLS, grids.CELLS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_checkpoints_and_the_next_run_ends_bit_for_bit_the_same(
    space: Path, clean: Path, address: str, tmp_path: Path, number: signal.Signals
) -> None:
    process = grids.start(space, tmp_path, "--address", address)
    while process.poll() is None and not list(tmp_path.glob("*/*/history.jsonl")):
        time.sleep(0.02)
    signalled = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    took = time.monotonic() - signalled
    assert process.returncode == (4 if number is signal.SIGINT else 75), output
    assert "run the same command again" in output
    assert took < 10 or number is signal.SIGINT, f"{took:.1f} s"
    kept = [*tmp_path.glob("*/*/checkpoint.safetensors"), *tmp_path.glob("*/*/manifest.json")]
    assert kept, "what ran has neither a checkpoint nor a result"
    before = grids.starts(tmp_path)
    code, output = grids.run(space, tmp_path, "--address", address)
    assert code == 0, output
    assert grids.contents(tmp_path) == grids.contents(clean)
    assert grids.starts(tmp_path) <= before + grids.CELLS


@pytest.mark.slow
def test_f4_after_a_whole_cluster_is_lost_only_the_missing_cells_run(
    space: Path, clean: Path, tmp_path: Path
) -> None:
    process = grids.start(space, tmp_path)  # with a Ray of its own
    while process.poll() is None and len(grids.results(tmp_path)) < 3:
        time.sleep(0.05)
    assert grids.kill_tree(process.pid) > 3  # the driver, Ray's servers, the workers
    process.communicate()
    done = {path: path.read_bytes() for path in grids.results(tmp_path)}
    assert 3 <= len(done) < grids.CELLS
    code, output = grids.run(space, tmp_path)
    assert code == 0, output
    assert {path: path.read_bytes() for path in done} == done
    assert grids.contents(tmp_path) == grids.contents(clean)


@pytest.mark.slow
@pytest.mark.parametrize("k", range(int(os.environ.get("CURVETUNE_FAULT_SUBMITS", 10))))
def test_f6_two_submitters_of_one_grid_compute_each_cell_once(
    space: Path, clean: Path, address: str, empty_database: Path, tmp_path: Path, k: int
) -> None:
    slots = 2 if k == 0 else 1
    if k % 4:
        shutil.copy(empty_database, tmp_path / DATABASE)
    both = [grids.fork(space, tmp_path, "--address", address, slots=slots) for _ in range(2)]
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert grids.contents(tmp_path) == grids.contents(clean)
    published = sum(output.count('"cell_id"') for output in outputs)
    assert published == 2 * grids.CELLS  # both tables are whole
    assert grids.tracked(tmp_path) == (grids.CELLS, grids.CELLS)
    history = [len(path.read_text().splitlines()) for path in tmp_path.glob("*/*/history.jsonl")]
    assert history == [grids.EPOCHS] * (grids.CELLS + grids.PROBES)
