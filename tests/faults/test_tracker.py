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
from itertools import islice
from pathlib import Path
from typing import Any

import grids
import pytest
from proxy import Mode, Proxy
from tracking_helpers import assert_up_to_date, new_tracker, one_by_one, the_cells

from curvetune.tracking.sync.thread import TrackerThread, sync

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

COMMAND = "from curvetune.cli import main; main()"
# Prints when its grid ended, waits for the tracker as a driver does, and exits.
DRIVER = """
import sys, time
from curvetune.tracking.sync.thread import TrackerThread, sync
with TrackerThread(*sys.argv[1:4], every_s=0.2):
    print("ready", flush=True)
    sys.stdin.readline()
    ended = time.monotonic()
print(ended, flush=True)
"""


def direct(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.upstream}"


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
