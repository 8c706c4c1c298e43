import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_cell
import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import AllocateConfig, CellConfig, DataConfig, ModelConfig
from curvetune.errors import CorruptError
from curvetune.planning.order import Order
from curvetune.planning.plan import Plan, build_plan
from curvetune.planning.resources import LaunchOptions
from curvetune.planning.space import Space
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_arrays
from curvetune.store.lease import leased
from curvetune.tune.callbacks import LostTrials
from curvetune.tune.curves import CurveCache, CurveReader, start_cache
from curvetune.tune.launch import launch
from curvetune.tune.searcher import OrderSearcher
from curvetune.tune.stopping import GRACE_S, Stopping

pytestmark = pytest.mark.ray
cloudpickle.register_pickle_by_value(fake_cell)  # type: ignore[no-untyped-call]

DIGEST = "d" * 64
DATASET = np.ones((100, 100))


@pytest.fixture(scope="module")
def cluster(fake_gpus: None) -> Iterator[None]:
    """Four GPUs that do not exist, on two cores."""
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
    )
    yield
    ray.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Train here as a trial with one CPU does: the number of threads decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def group(seed: int, size: int) -> list[CellConfig]:
    """Return cells that share one probe."""
    return [
        CellConfig.model_validate({"method": {"name": "curvenet", "skip_layers": k}, "seed": seed})
        for k in range(size)
    ]


def ids(cells: list[CellConfig]) -> list[str]:
    return [cell.cell_id(DIGEST) for cell in cells]


def plan_for(storage: Path, cells: list[CellConfig]) -> Plan:
    return build_plan(
        Space("trial", tuple(cells)),
        DIGEST,
        is_done=lambda cell_id: CellStore(storage).result(cell_id) is not None,
        has_probe=CurveStore(storage).has,
    )


def run(storage: Path, cells: list[CellConfig]) -> bool:
    return launch(plan_for(storage, cells), DATASET, storage, run_cell=fake_cell.run_cell)


A, B, C = group(0, 3), group(1, 3), group(2, 2)
FREE = [CellConfig(seed=seed) for seed in range(2)]
EVERY = [*A, *B, *C, *FREE]


@pytest.fixture(scope="module")
def storage(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage after a run in which A's leader failed and B's leader was killed once."""
    root = tmp_path_factory.mktemp("storage")
    words = {A[0]: "fail", A[1]: "meet", B[0]: "die", C[0]: "meet", FREE[0]: "meet"}
    words_by_id = {cell.cell_id(DIGEST): word for cell, word in words.items()}
    (root / "behave.json").write_text(json.dumps(words_by_id))
    assert run(root, EVERY)
    return root


@pytest.fixture(scope="module")
def rows(storage: Path) -> dict[str, dict[str, Any]]:
    """What each cell that got through the first run wrote down."""
    return {row["cell_id"]: row for row in fake_cell.rows(storage)}


def test_four_trials_run_at_once_with_a_gpu_each(rows: dict[str, dict[str, Any]]) -> None:
    met = [rows[cell_id] for cell_id in ids([A[1], B[0], C[0], FREE[0]])]
    assert sorted(len(row["gpus"]) for row in met) == [1, 1, 1, 1]
    assert len({row["gpus"][0] for row in met}) == 4
    assert max(row["start"] for row in met) < min(row["end"] for row in met)


def test_followers_never_hold_a_gpu_while_their_probe_is_missing(
    rows: dict[str, dict[str, Any]],
) -> None:
    missing = [row["cell_id"] for row in rows.values() if row["stored_at_start"] is False]
    with_probe = set(missing) - set(ids(FREE))
    assert with_probe == set(ids([A[1], B[0], C[0]]))


def test_a_failing_leader_is_replaced_and_the_others_finish(
    storage: Path, rows: dict[str, dict[str, Any]]
) -> None:
    assert set(rows) == set(ids(EVERY)) - set(ids(A[:1]))
    failure = CellStore(storage).failure(A[0].cell_id(DIGEST))
    assert failure is not None
    assert failure["error"] == "RuntimeError: no luck"
    assert "in two lines" in failure["log"]


def test_a_killed_trial_is_tried_again(storage: Path, rows: dict[str, dict[str, Any]]) -> None:
    (killed,) = ids(B[:1])
    assert (storage / f"died-{killed}").exists()
    assert killed in rows
    assert CellStore(storage).failure(killed) is None


def test_trials_share_the_data_set_and_the_curves(rows: dict[str, dict[str, Any]]) -> None:
    assert {row["dataset"] for row in rows.values()} == {DATASET.sum()}
    readers = [row for row in rows.values() if row["probe_id"]]
    assert {(row["sum"], row["writeable"]) for row in readers} == {(66.0, False)}


def test_workers_are_used_again(rows: dict[str, dict[str, Any]]) -> None:
    assert max(Counter(row["pid"] for row in rows.values()).values()) > 1


def test_nothing_of_tune_stays_in_the_storage(storage: Path) -> None:
    assert not (storage / ".tune").exists()


def test_the_same_command_again_runs_only_what_is_missing(
    storage: Path, rows: dict[str, dict[str, Any]]
) -> None:
    (storage / "behave.json").unlink()
    assert run(storage, EVERY)
    assert [row["cell_id"] for row in fake_cell.rows(storage)[len(rows) :]] == ids(A[:1])
    assert plan_for(storage, EVERY).left == ()


def test_a_killed_trial_goes_on_from_its_checkpoint_and_ends_where_it_would_have(
    cluster: None, one_thread: None, tmp_path: Path
) -> None:
    smoke = CellConfig(
        data=DataConfig(train_limit=100, test_limit=50),
        model=ModelConfig(name="resnet8"),
        allocate=AllocateConfig(epochs=8, milestones=(4,), warmup=1),
    )
    digits, options = data.load("digits"), LaunchOptions(checkpoint_every=4)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    for root in (killed, straight):
        root.mkdir()
    plan = plan_for(killed, [smoke])
    assert launch(plan, digits, killed, options, run_cell=fake_cell.run_cell_killed_once)
    epochs = [int(line) for line in (killed / "epochs.txt").read_text().split()]
    assert epochs == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7]
    run_cell(smoke, DIGEST, digits, straight, device=torch.device("cpu"))
    weights, expected = (model_arrays(root, smoke) for root in (killed, straight))
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def model_arrays(root: Path, cell: CellConfig) -> dict[str, Any]:
    folder = CellStore(root).folder(cell.cell_id(DIGEST))
    return load_arrays(folder / "model.safetensors")[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(
    cluster: None, tmp_path: Path, number: signal.Signals
) -> None:
    cells = [*FREE[:1], *A]  # with four GPUs and followers that wait, A[1:] never start
    (tmp_path / "behave.json").write_text(json.dumps(dict.fromkeys(ids(cells[:2]), "sleep")))
    handlers = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
    signalled = []

    def send() -> None:
        while len(list(tmp_path.glob("asleep-*"))) < 2:
            time.sleep(0.05)
        signalled.append(time.monotonic())
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    stopping = Stopping()
    with stopping.handled():
        plan = plan_for(tmp_path, cells)
        assert not launch(plan, DATASET, tmp_path, stopping=stopping, run_cell=fake_cell.run_cell)
    assert stopping.preempted == (number is signal.SIGTERM)
    assert time.monotonic() - signalled[0] < GRACE_S
    assert all(CellStore(tmp_path).failure(cell_id) is None for cell_id in ids(cells))
    assert fake_cell.rows(tmp_path) == []
    assert not list((tmp_path / ".tune").glob("*"))
    assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == handlers


LEAVING = """
import threading, time
import ray
from curvetune.tune import cluster

def leave_garbage(refs):
    while ray._private.worker.global_worker.connected:
        time.sleep(0.0001)
    while refs:  # what Python's automatic collection would free
        cycle = [refs.pop()]
        cycle.append(cycle)
        [[] for _ in range(1000)]

with cluster.connected(None):
    refs = [ray.put(0) for _ in range(5000)]
    threading.Thread(target=leave_garbage, args=(refs,)).start()
"""


def test_garbage_of_another_thread_does_not_end_the_process_while_ray_shuts_down() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_cell_that_hangs_is_ended_named_and_not_tried_again(
    cluster: None, tmp_path: Path
) -> None:
    hangs, *others = FREE
    (tmp_path / "behave.json").write_text(json.dumps({hangs.cell_id(DIGEST): "hang"}))
    plan = plan_for(tmp_path, FREE)
    options = LaunchOptions(hang_after_s=3.0)
    assert launch(plan, DATASET, tmp_path, options, run_cell=fake_cell.run_cell)
    failure = CellStore(tmp_path).failure(hangs.cell_id(DIGEST))
    assert failure is not None
    assert failure["kind"] == "hang"
    assert "no epoch ended within 3 s" in failure["error"]
    assert "in behave" in failure["log"]  # the stack says where
    assert [row["cell_id"] for row in fake_cell.rows(tmp_path)] == ids(others)


def test_cells_of_another_command_are_waited_for_and_not_run_twice(
    cluster: None, tmp_path: Path
) -> None:
    """The other one publishes the first of them, and leaves the second without a result."""
    store = CellStore(tmp_path)
    mine, theirs, left = (CellConfig(seed=seed) for seed in range(3))
    ready = threading.Event()

    def other_command() -> None:
        folders = (store.folder(cell.cell_id(DIGEST)) for cell in (theirs, left))
        with leased(next(folders)), leased(next(folders)):
            ready.set()
            while not fake_cell.rows(tmp_path):
                time.sleep(0.05)
            fake_cell.finish(tmp_path, theirs, theirs.cell_id(DIGEST), {"cell_id": "theirs"})

    threading.Thread(target=other_command, daemon=True).start()
    ready.wait()
    assert run(tmp_path, [mine, theirs, left])
    done = [row["cell_id"] for row in fake_cell.rows(tmp_path)]
    assert done == [*ids([mine]), "theirs", *ids([left])]


def test_a_trial_that_tune_gives_up_is_recorded_once_and_its_group_goes_on(tmp_path: Path) -> None:
    first, second = ids(group(0, 2))
    searcher = OrderSearcher(Order({first: "P", second: "P"}), Nobody())
    assert searcher.suggest("t1") == {"cell_id": first}
    assert searcher.suggest("t2") is None
    (tmp_path / "error.txt").write_text("Failure # 4\nThe actor died unexpectedly\n")
    trial = SimpleNamespace(
        trial_id="t1",
        status="ERROR",
        config={"cell_id": first},
        num_failures=4,
        error_file=str(tmp_path / "error.txt"),
    )
    lost = LostTrials(searcher, CellStore(tmp_path))
    for iteration in range(2):
        lost.on_step_end(iteration, [trial])
    failure = CellStore(tmp_path).failure(first)
    assert failure is not None
    assert failure["error"].startswith("its worker process died 4 times")
    assert failure["kind"] == "lost"
    assert searcher.suggest("t3") == {"cell_id": second}


def test_waiting_cells_start_when_another_grid_stores_their_probe() -> None:
    there: set[str] = set()
    others = Nobody()
    others.has_probe = there.__contains__  # type: ignore[method-assign]
    searcher = OrderSearcher(Order(dict.fromkeys(("c1", "c2"), "P")), others, poll_s=0.0)
    searcher.set_max_concurrency(2)
    assert searcher.suggest("t1") == {"cell_id": "c1"}
    assert searcher.suggest("t2") is None
    there.add("P")
    assert searcher.suggest("t2") == {"cell_id": "c2"}
    assert searcher.suggest("t3") is None  # while cells run, one may come back
    for trial in ("t1", "t2"):
        searcher.on_trial_complete(trial)
    assert searcher.suggest("t3") == "FINISHED"


class Nobody:
    """No other command works on the storage."""

    def has_probe(self, probe_id: str) -> bool:
        return False

    has_result = holds_probe = holds_cell = has_probe


PROBE = "0123456789abcdef"


def write_curves(storage: Path, value: float, probe_id: str = PROBE) -> None:
    store = CurveStore(storage)
    store.discard(probe_id)  # what is published is never replaced
    store.write(probe_id, np.full((1000, 300), value, np.float32), {})


def read_in_a_trial(reader: CurveReader) -> tuple[float, bool, bool]:
    """Read in another process, as a trial does, and say whether the array owns memory."""

    @ray.remote(num_cpus=0)
    def read() -> tuple[float, bool, bool]:
        curves = reader(PROBE)
        return float(curves[0, 0]), curves.flags.writeable, curves.flags.owndata

    return ray.get(read.remote())


def test_the_second_trial_does_not_read_the_disk(cluster: None, tmp_path: Path) -> None:
    write_curves(tmp_path, 1.0)
    cache = start_cache(tmp_path)
    reader = CurveReader(tmp_path, cache)
    assert read_in_a_trial(reader) == (1.0, False, False)
    assert read_in_a_trial(reader) == (1.0, False, False)
    assert ray.get(cache.disk_reads.remote()) == 1
    write_curves(tmp_path, 2.0)
    reader.forget(PROBE)
    assert read_in_a_trial(reader)[0] == 2.0
    ray.kill(cache)
    assert read_in_a_trial(reader)[0] == 2.0  # from the disk


def test_a_corrupt_probe_is_refused_and_not_remembered(cluster: None, tmp_path: Path) -> None:
    write_curves(tmp_path, 1.0)
    file = CurveStore(tmp_path).folder(PROBE) / "curves.npy"
    file.write_bytes(file.read_bytes()[:-1])
    cache = start_cache(tmp_path)
    reader = CurveReader(tmp_path, cache)
    with pytest.raises(CorruptError, match=r"curves\.npy: its content is not what") as caught:
        reader(PROBE)
    assert type(caught.value) is CorruptError
    write_curves(tmp_path, 3.0)
    assert read_in_a_trial(reader)[0] == 3.0
    ray.kill(cache)


def test_the_cache_keeps_the_newest_probes_within_its_bound(tmp_path: Path) -> None:
    probes = [f"{k:016x}" for k in range(3)]
    for probe in probes:
        write_curves(tmp_path, 1.0, probe)
    cache = CurveCache(tmp_path, capacity_bytes=2 * 1000 * 300 * 4, put=lambda curves: curves)
    for probe in (probes[0], probes[1], probes[0], probes[2]):
        cache.ref(probe)  # the last one pushes out probes[1]
    assert cache.disk_reads() == 3
    cache.ref(probes[0])
    assert cache.disk_reads() == 3
    cache.ref(probes[1])
    assert cache.disk_reads() == 4
