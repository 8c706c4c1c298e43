"""The thread that keeps MLflow up to date; one real MLflow server for the session."""

import logging
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from storage_fixtures import EPOCHS, START, finish
from tracking_helpers import free_port, mlflow_server, points_of, runs_of, small

from curvetune.errors import BackendError, ConfigError
from curvetune.tracking.base import DATABASE, NullTracker, Point, Run, RunSpec, Tracker
from curvetune.tracking.sync.thread import TrackerThread


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_the_file_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="file store is not supported; give a server"):
        TrackerThread(tmp_path, "small", uri)


def test_the_real_server_on_loopback_gets_each_run_and_point_once(
    tmp_path: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = small(tmp_path, 3)
    with TrackerThread(tmp_path, "small", server, every_s=0.2):
        time.sleep(1)
        finish(tmp_path, cells[3], 63, start=START + 300)
    points = points_of(tmp_path, uri=server)
    assert len(runs_of(tmp_path, uri=server)) == 7
    assert runs_of(tmp_path, uri=server)["curvenet"].data.metrics["ma"] == 62.0
    with TrackerThread(tmp_path, "small", server):
        pass
    assert points_of(tmp_path, uri=server) == points
    assert set(points.values()) == {1}
    top = runs_of(tmp_path, uri=server)["small"]
    assert "curvenet" in artifact(server, top.info.run_id, "report.md")
    assert not (tmp_path / DATABASE).exists()
    if sys.platform == "linux":
        assert listening_on(int(server.rpartition(":")[2])) == {"0100007F"}  # 127.0.0.1
    assert capfd.readouterr() == ("", "")


def listening_on(port: int) -> set[str]:
    """The local addresses with a listener on `port`, as the kernel writes them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    return {where.partition(":")[0] for where in local if where.endswith(f":{port:04X}")}


def artifact(server: str, run_id: str, path: str) -> str:
    url = f"{server}/get-artifact?run_id={run_id}&path={path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_a_server_that_is_down_is_told_once_and_delays_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(tmp_path, 1)
    start = time.monotonic()
    with TrackerThread(tmp_path, "small", f"http://127.0.0.1:{free_port()}", every_s=0.2):
        assert time.monotonic() - start < 1.5  # not even MLflow's import was waited for
        while not caplog.records and time.monotonic() - start < 60:
            time.sleep(0.1)
        time.sleep(1)
        ended = time.monotonic()
    assert time.monotonic() - ended < 20
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2
    assert "cannot be reached" in told[0]
    assert "The grid goes on" in told[0]
    assert "`curvetune sync small`" in told[1]


def test_a_server_that_never_answers_delays_the_end_by_no_more_than_its_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(tmp_path, 1)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with TrackerThread(tmp_path, "small", uri, end_s=1):
            ended = time.monotonic()
        assert time.monotonic() - ended < 6  # a busy machine too
    assert "not up to date after 1 s" in caplog.text


class Flaky(NullTracker):
    """Cannot be reached for the first few times; then counts what it is told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.points = 0

    def run(self, spec: RunSpec) -> Run:
        if self.failures:
            self.failures -= 1
            raise BackendError("MLflow at nowhere: down")
        return super().run(spec)

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        self.points += len(points)


def test_a_server_that_comes_back_gets_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(tmp_path, 2)
    flaky = Flaky(failures=2)
    with TrackerThread(tmp_path, "small", every_s=0.05, connect=lambda: flaky):
        time.sleep(1)
    assert flaky.points > 2 * EPOCHS
    down, again = (record.getMessage() for record in caplog.records)
    assert down.startswith("MLflow at nowhere: down. The grid goes on")
    assert again.endswith("is up to date again")


def test_what_goes_wrong_in_the_thread_stays_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Tracker:
        raise KeyError("a bug")

    small(tmp_path, 1)
    with TrackerThread(tmp_path, "small", every_s=0.05, connect=broken):
        time.sleep(0.3)
    assert "KeyError('a bug')" in caplog.text
