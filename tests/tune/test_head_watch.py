"""A cluster that is gone ends the command, in our words; one that comes back does not."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from curvetune.errors import BackendError, StorageFullError
from curvetune.tune.reach import SETTINGS, Service
from curvetune.tune.watch import Watch, limits, watched

ALIVE = bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])


class Port:
    """A port of loopback that answers as Ray does, while it is open."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.number = free.getsockname()[1]

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", self.number)) as server:

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = server.accept()
                        with connection:
                            connection.sendall(ALIVE)
                            connection.recv(100)

            threading.Thread(target=serve, daemon=True).start()
            yield
            server.shutdown(socket.SHUT_RDWR)

    @property
    def service(self) -> Service:
        return Service("127.0.0.1", self.number, "--address here")


def test_a_head_that_is_gone_is_raised_in_the_driver_and_says_since_when() -> None:
    head, node = Port(), Port()
    start = time.monotonic()

    def drive() -> None:
        with node.open(), watched(Watch(head.service, node.service, refused_s=2.0)):
            while time.monotonic() - start < 30:  # what Ray Tune does: short waits
                with contextlib.suppress(Exception):
                    time.sleep(0.01)

    with pytest.raises(BackendError) as raised:
        drive()
    assert time.monotonic() - start < 15
    assert re.fullmatch(
        rf"--address here: the head of the cluster at 127\.0\.0\.1:{head.number} does not answer "
        r"since \d\d:\d\d:\d\d; finished cells are in the storage; run the same command again once "
        r"the cluster is there",
        str(raised.value),
    )


def test_a_head_that_comes_back_in_time_ends_nothing() -> None:
    head = Port()
    watch = Watch(head.service, None, refused_s=6.0)
    with watched(watch):
        time.sleep(2.5)
        with head.open():
            time.sleep(6)
            assert watch.words == ""


def test_an_error_of_rays_is_told_as_the_lost_node_that_it_comes_of_and_others_are_not() -> None:
    head, node = Port(), Port()

    def fail(error: Exception) -> None:
        with watched(Watch(head.service, node.service)):
            raise error

    with head.open():
        with pytest.raises(BackendError, match="the Ray node on this host at"):
            fail(RuntimeError("Failed to connect to raylet"))
        with pytest.raises(StorageFullError):
            fail(StorageFullError("no space left"))
        with node.open(), pytest.raises(RuntimeError, match="a mistake"):
            fail(RuntimeError("a mistake"))


BLOCKED = """
import sys, time
from curvetune.tune.reach import Service
from curvetune.tune.watch import Watch, watched
head = Service("127.0.0.1", int(sys.argv[1]), "--address here")
with watched(Watch(head, None, refused_s=0.5, raising_s=1.0)):
    time.sleep(60)  # as a call of Ray's that never returns
"""


def test_a_driver_that_hangs_in_a_call_is_ended_with_the_same_words_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(Port().number)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 5
    assert "error: --address here: the head of the cluster at 127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shorter_limit_of_the_users_for_ray_is_kept_under(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    assert limits() == (15.0, 90.0)
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    assert limits() == (7.5, 7.5)
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    assert limits() == (15.0, 90.0)
