"""F8, F9: whatever MLflow does, training goes on, and MLflow ends with every point once.

A real `mlflow server` behind a proxy that refuses, stalls, and loses or cuts answers. What it must
hold in the end is read from the files of the storage, with nothing of the code that sent it.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import grids
import numpy as np
import pytest
from proxy import Mode, Proxy, proxy_to
from scipy.stats import bootstrap
from storage_fixtures import EPOCHS, START, add_epochs, add_probe_epochs, finish, write_grid
from tracking_helpers import assert_up_to_date, mlflow_server, new_tracker, the_cells

from curvetune.config import CellConfig
from curvetune.report.sync import TrackerThread, sync

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

PAIRS = 10
TOLERANCE = 1.05
Pairs = list[tuple[list[float], list[float]]]  # seconds of the steps with and without the tracker
COMMAND = "from curvetune.cli import main; main()"
# Prints when its grid ended, waits for the tracker as a driver does, and exits.
DRIVER = """
import sys, time
from curvetune.report.sync import TrackerThread, sync
with TrackerThread(*sys.argv[1:4], every_s=0.2):
    print("ready", flush=True)
    sys.stdin.readline()
    ended = time.monotonic()
print(ended, flush=True)
"""
_numbers = count()
Seconds = dict[str, list[float]]  # of each step, by clock


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    import curvetune.tracking.mlflow  # noqa: F401, which sets 5 s where nothing is set

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with proxy_to(port) as proxy:
        yield proxy


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """A grid of four cells, none of which has begun; its name is new to the server."""
    name = f"grid-{next(_numbers)}"
    write_grid(tmp_path, the_cells(), name)
    return name


def direct(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.upstream}"


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


def synced(root: Path, grid: str, uri: str) -> dict[str, Any]:
    """Run `curvetune sync`, and return what it says of the grid."""
    command = [sys.executable, "-c", COMMAND, "sync", grid, "--storage", str(root), "--json"]
    done = subprocess.run(
        [*command, "--tracking-uri", uri],
        # with the 5 s that a user's command waits for an answer, not the tests' one
        env={key: os.environ[key] for key in os.environ.keys() - {"MLFLOW_HTTP_REQUEST_TIMEOUT"}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["grids"]
    return dict(row)


def check(proxy: Proxy, root: Path, grid: str) -> None:
    assert_up_to_date(root, the_cells(), grid, direct(proxy))


def test_f8_a_server_that_is_down_at_the_start_gets_all_when_it_comes(
    tmp_path: Path, proxy: Proxy, grid: str
) -> None:
    proxy.down()
    with TrackerThread(tmp_path, grid, proxy.uri, every_s=0.2):
        for done, _ in enumerate(one_by_one(tmp_path)):
            if done == 10:
                proxy.up()
    check(proxy, tmp_path, grid)


def test_f8_a_server_that_flaps_has_every_point_once(
    tmp_path: Path, proxy: Proxy, grid: str, figure: Callable[[str], None]
) -> None:
    draw, stop = random.Random(0), threading.Event()

    def flap() -> None:
        modes: list[Mode] = ["pass", "pass", "lose", "cut", "stall"]
        while not stop.wait(draw.uniform(0.05, 0.4)):
            if draw.random() < 0.3:
                proxy.down()
            else:
                proxy.up()
                proxy.set(draw.choice(modes), stall_s=draw.uniform(0.1, 3))

    flapping = threading.Thread(target=flap)
    flapping.start()
    epochs = one_by_one(tmp_path)
    for _ in range(4):  # drivers one after the other: each starts its tries afresh
        with TrackerThread(tmp_path, grid, proxy.uri, every_s=0.1, end_s=1):
            for _ in islice(epochs, 6):
                pass
    assert next(epochs, None) is None
    stop.set()
    flapping.join()
    proxy.up()
    proxy.set("pass")
    proxy.settle()
    assert sum(proxy.spoiled.values()) > 3
    sync(tmp_path, grid, new_tracker(tmp_path, proxy.uri))
    check(proxy, tmp_path, grid)
    assert sync(tmp_path, grid, new_tracker(tmp_path, proxy.uri)).points == 0
    figure(f"F8: flapping server, {sum(proxy.spoiled.values())} requests spoiled")


@contextmanager
def driver(root: Path, grid: str, uri: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that tracks a grid until it reads a line; with MLflow's limits as users have."""
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_HTTP_REQUEST_TIMEOUT"}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), grid, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.slow
def test_f8_stalls_of_30_s_hold_the_end_of_a_grid_for_10_s_and_sync_heals_it(
    tmp_path: Path, proxy: Proxy, grid: str, figure: Callable[[str], None]
) -> None:
    proxy.set("stall", stall_s=30)
    with driver(tmp_path, grid, proxy.uri) as process:
        for _ in one_by_one(tmp_path, pause_s=0.3):
            pass
        while not proxy.open:
            time.sleep(0.05)
        output, errors = process.communicate("end\n", timeout=60)
        left = time.monotonic() - float(output)
    assert process.returncode == 0
    assert left < 10 + 2
    assert "not up to date after 10 s" in errors or "cannot be reached" in errors
    assert f"`curvetune sync {grid}`" in errors
    assert "Traceback" not in errors
    refused = subprocess.run(
        [sys.executable, "-c", COMMAND, "sync", "--storage", str(tmp_path)],
        env={**os.environ, "MLFLOW_TRACKING_URI": proxy.uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "cannot be reached" in refused.stderr
    proxy.set("pass")
    assert synced(tmp_path, grid, proxy.uri)["points_sent"] > 0
    proxy.settle()  # what was stalled reaches the server only now
    synced(tmp_path, grid, proxy.uri)
    check(proxy, tmp_path, grid)
    figure(f"F8: server stalled for 30 s, the driver exits after {left:.1f} s")


@pytest.mark.slow
def test_f8_runs_that_are_made_long_after_they_were_asked_for_stay_single(
    tmp_path: Path, proxy: Proxy, grid: str
) -> None:
    proxy.set("stall", lambda name: name == "create_run", stall_s=4)
    with TrackerThread(tmp_path, grid, proxy.uri, every_s=0.1):
        for _ in one_by_one(tmp_path):
            pass
        while proxy.spoiled["create_run"] < 3:  # two of them for the same run
            time.sleep(0.05)
        proxy.set("pass")
        time.sleep(5)
        proxy.settle()
    check(proxy, tmp_path, grid)


def test_f8_two_drivers_in_two_processes_make_every_run_once(
    tmp_path: Path, proxy: Proxy, grid: str
) -> None:
    with driver(tmp_path, grid, proxy.uri) as one, driver(tmp_path, grid, proxy.uri) as two:
        for _ in one_by_one(tmp_path):
            pass
        for process in (one, two):
            process.communicate("end\n", timeout=60)
            assert process.returncode == 0
    sync(tmp_path, grid, new_tracker(tmp_path, proxy.uri))
    check(proxy, tmp_path, grid)


LOST = ("create_experiment", "create_run", "log_batch", "set_status", "write_text")


@pytest.mark.parametrize("mode", ["lose", pytest.param("cut", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOST)
def test_f9_a_server_that_commits_and_does_not_say_so_has_no_duplicates(
    tmp_path: Path, proxy: Proxy, grid: str, name: str, mode: Mode
) -> None:
    proxy.set(mode, only(proxy, name, times=3))
    with TrackerThread(tmp_path, grid, proxy.uri, every_s=0.05):
        for _ in one_by_one(tmp_path, pause_s=0.05):
            pass
    assert proxy.spoiled[name] >= 1
    proxy.set("pass")  # on a slow machine, some answers are not lost yet
    sync(tmp_path, grid, new_tracker(tmp_path, proxy.uri))
    check(proxy, tmp_path, grid)


def only(proxy: Proxy, name: str, *, times: int) -> Callable[[str], bool]:
    return lambda found: found == name and proxy.spoiled[name] < times


def test_f9_answers_lost_at_random_double_nothing(
    tmp_path: Path, proxy: Proxy, grid: str, figure: Callable[[str], None]
) -> None:
    draw = random.Random(1)
    proxy.set("lose", lambda _: draw.random() < 0.15)
    epochs = one_by_one(tmp_path, pause_s=0.1)
    for _ in range(4):
        with TrackerThread(tmp_path, grid, proxy.uri, every_s=0.02):
            for _ in islice(epochs, 6):
                pass
    assert next(epochs, None) is None
    proxy.set("pass")
    sync(tmp_path, grid, new_tracker(tmp_path, proxy.uri))
    assert sum(proxy.spoiled.values()) > 5
    check(proxy, tmp_path, grid)
    figure(f"F9: {sum(proxy.spoiled.values())} answers lost at random, 0 duplicates")


class Training:
    """A process that trains, a window at a time."""

    def __init__(self, history: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("steps.py")), str(history)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def window(self) -> Seconds:
        """Return what each step of the next window took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        self._process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.alone
def test_f8_training_steps_are_as_fast_with_a_tracker_in_trouble(
    tmp_path: Path, proxy: Proxy, grid: str, figure: Callable[[str], None]
) -> None:
    """CPU time is asserted, since wall time on a shared machine tells of others; both are told."""
    for _ in one_by_one(tmp_path, pause_s=0):
        pass
    cell = the_cells()[1]
    folder = tmp_path / "cells" / cell.cell_id("d" * 64)
    for name in ("DONE.json", "history.jsonl"):
        (folder / name).unlink()  # this one is trained while the tracker looks
    training = Training(folder / "history.jsonl")
    training.window()
    windows = [
        {
            tracked: one_window(training, tmp_path, grid, proxy, tracked=tracked, k=k)
            for tracked in (k % 2 == 0, k % 2 == 1)
        }
        for k in range(PAIRS)
    ]
    training.end()
    found = {}
    for clock in ("cpu", "wall"):
        pairs = [(pair[True][clock], pair[False][clock]) for pair in windows]
        found[f"{clock} median"] = interval(pairs, ratio_of_medians)
        found[f"{clock} p99"] = interval(pairs, ratio_of_p99)
    text = ", ".join(
        f"{key} ×{ratio:.3f} ({low:.3f} to {high:.3f})" for key, (low, ratio, high) in found.items()
    )
    figure(f"F8: step time with the tracker in trouble, {PAIRS} pairs of windows: {text}")
    assert sum(proxy.spoiled.values()) >= PAIRS // 3
    for key in ("cpu median", "cpu p99"):
        assert found[key][0] < TOLERANCE, f"slower beyond what chance explains: {text}"


def ratio_of_medians(pairs: Pairs) -> float:
    """Return by how much steps are slower in the first of each pair, the median over pairs."""
    return float(np.median([np.median(on) / np.median(off) for on, off in pairs]))


def ratio_of_p99(pairs: Pairs) -> float:
    """Return the same of the 99th percentile, over all windows: that of one window is luck."""
    on, off = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return float(np.percentile(on, 99) / np.percentile(off, 99))


def interval(pairs: Pairs, ratio: Callable[[Pairs], float]) -> tuple[float, float, float]:
    """Return the ratio between the ends of its 90 % interval (bootstrap over pairs)."""
    ends = bootstrap(
        (range(len(pairs)),),
        lambda chosen: ratio([pairs[k] for k in chosen]),
        confidence_level=0.9,
        vectorized=False,
        method="percentile",
        rng=0,
    ).confidence_interval
    return ends.low, ratio(pairs), ends.high


def one_window(
    training: Training, root: Path, grid: str, proxy: Proxy, *, tracked: bool, k: int
) -> Seconds:
    if not tracked:
        return training.window()
    with trouble(proxy, k), TrackerThread(root, grid, proxy.uri, end_s=1.2):
        return training.window()


@contextmanager
def trouble(proxy: Proxy, k: int) -> Iterator[None]:
    """Let the server be down, stall, or flap."""
    if k % 3 == 0:
        proxy.down()
    proxy.set("stall" if k % 3 == 1 else "cut", lambda _: k % 3 == 1 or random.random() < 0.3)
    yield
    proxy.up()
    proxy.set("pass")


@pytest.mark.ray
@pytest.mark.slow
def test_f8_a_grid_whose_tracker_stalls_all_the_time_has_the_same_results(
    space: Path,
    clean: Path,
    address: str,
    tmp_path: Path,
    proxy: Proxy,
    figure: Callable[[str], None],
) -> None:
    proxy.set("stall", stall_s=30)
    process = grids.start(
        space,
        tmp_path,
        *("--address", address, "--tracking-uri", proxy.uri),
        env={"MLFLOW_HTTP_REQUEST_TIMEOUT": "5"},
    )
    output, _ = process.communicate(timeout=240)
    ended = time.time()
    assert process.returncode == 0, output
    assert proxy.spoiled
    assert grids.contents(tmp_path) == grids.contents(clean)
    last = max(path.stat().st_mtime for path in grids.results(tmp_path))
    figure(f"F8: a grid with a stalled tracker, exit 0, {ended - last:.1f} s after its last cell")
    assert ended - last < 25
    proxy.set("pass")
    assert synced(tmp_path, "tiny", proxy.uri)["runs"] == 1 + 2 + grids.CELLS
