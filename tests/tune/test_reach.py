"""A cluster that cannot be a grid's is said in one line, in seconds; and what listens where."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curvetune.errors import BackendError
from curvetune.tune import tokens
from curvetune.tune.cluster import connected

TOKEN = "5f0c1d2e3b4a59685f0c1d2e3b4a5968"
SOON_S = 20.0  # a second on an idle machine; Ray alone takes 26 to 65

JOIN = """
import json, sys, time
from curvetune.errors import BackendError
from curvetune.tune.cluster import connected, nodes
start = time.monotonic()
try:
    with connected(sys.argv[1]):
        print(json.dumps([len(nodes()), "", time.monotonic() - start]))
except BackendError as error:
    print(json.dumps([0, str(error), time.monotonic() - start]))
"""


@contextlib.contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Listen on loopback, and answer to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_a_port_of_something_else_is_told_from_a_head() -> None:
    with (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        pytest.raises(BackendError, match="not Ray's head; its port is mostly 6379"),
        connected(f"127.0.0.1:{port}"),
    ):
        pass


@pytest.mark.parametrize("address", ["nothing", "host:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_said_with_its_value(address: str) -> None:
    with (
        pytest.raises(BackendError, match=f"--address {re.escape(address)}: no Ray cluster"),
        connected(address),
    ):
        pass


def test_the_environment_is_as_before_once_a_token_of_our_own_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (tokens.MODE, tokens.TOKEN, tokens.TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    with tokens.own_token():
        assert os.environ[tokens.MODE] == "token"
        first = os.environ[tokens.TOKEN]
    assert tokens.MODE not in os.environ
    assert tokens.TOKEN not in os.environ
    monkeypatch.setenv(tokens.TOKEN, "of the user")
    with tokens.own_token():
        assert os.environ[tokens.TOKEN] == "of the user"
    assert os.environ[tokens.TOKEN] == "of the user"
    assert len(first) == 64


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a head with a token on this machine, and return its address."""
    folder = tmp_path_factory.mktemp("head")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={port}", "--num-cpus=1", "--num-gpus=0", "--include-dashboard=false"),
        *("--object-store-memory=100000000", "--disable-usage-stats"),
    ]
    with (folder / "log.txt").open("w+") as log:
        process = subprocess.Popen(
            command, env=environment(folder, token=True), stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 120
            while "Ray runtime started" not in (folder / "log.txt").read_text():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def environment(home: Path, *, token: bool = False, **more: str) -> dict[str, str]:
    """Return this process's environment without a word about tokens but those asked for."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")}
    asked = {tokens.MODE: "token", tokens.TOKEN: TOKEN} if token else {}
    return kept | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"} | asked | more


def join(address: str, env: dict[str, str]) -> tuple[int, str, float, str]:
    """Return how many nodes a driver sees, the error, how long it took, and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, error, seconds = json.loads(done.stdout)
    return count, error, seconds, done.stderr


@pytest.mark.ray
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "token refused (RAY_AUTH_MODE is unset"),
        ({tokens.TOKEN: TOKEN}, "token refused (RAY_AUTH_MODE is unset"),
        ({tokens.MODE: "token", tokens.TOKEN: "0" * 32}, "token refused (RAY_AUTH_MODE is token)"),
        ({tokens.MODE: "token"}, "RAY_AUTH_MODE=token, but there is no token"),
        ({tokens.MODE: "token", tokens.TOKEN_PATH: "/not/there"}, "names no file to read"),
    ],
)
def test_trial_10_a_token_that_is_missing_or_wrong_is_one_clear_line_at_once(
    head: str, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    count, error, seconds, stderr = join(head, environment(tmp_path, **given))
    assert count == 0
    assert error.startswith(f"--address {head}: ")
    assert said in error
    assert "set RAY_AUTH_MODE=token, and the cluster's token in RAY_AUTH_TOKEN" in error
    assert len(error.splitlines()) == 1
    assert seconds < SOON_S
    assert stderr == ""


@pytest.mark.ray
def test_a_driver_with_the_token_runs_on_the_cluster_that_the_environment_names(
    head: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, token=True, RAY_ADDRESS=head)
    code = JOIN.replace("sys.argv[1]", "None")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert json.loads(done.stdout)[:2] == [1, ""], done.stderr
    assert f"RAY_ADDRESS={head}: running on that cluster" in done.stderr


OTHER_VERSION = "import ray; ray.__version__ = '2.55.1'\n"


@pytest.mark.ray
def test_another_ray_is_an_error_that_names_both(head: str, tmp_path: Path) -> None:
    env = environment(tmp_path, token=True)
    done = subprocess.run(
        [sys.executable, "-c", OTHER_VERSION + JOIN, head], capture_output=True, text=True, env=env
    )
    count, error, _ = json.loads(done.stdout)
    assert count == 0
    assert "the cluster has Ray 2." in error
    assert "this host has Ray 2.55.1 and Python 3." in error


HERE = """
import json, os, sys, time
from pathlib import Path
from curvetune.tune.cluster import connected

def tree():
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    mine = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return mine

def sockets(pid):
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(path)
        except OSError:
            pass

def listening():
    held = {name for pid in tree() for name in sockets(pid)}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in held:
                yield words[1]

with connected("local"):
    import ray
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    modes = ray.get(ray.remote(lambda: [os.environ[name] for name in names]).remote())
    print(json.dumps([sorted(listening()), modes, (Path.home() / ".ray" / "auth_token").exists()]))
"""
LOOPBACK = ("0100007F:", "0000000000000000FFFF00000100007F:", f"{'0' * 24}01000000:")


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_trial_11_a_ray_that_is_started_here_listens_on_loopback_and_leaves_no_token(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HERE],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listening, modes, left = json.loads(done.stdout)
    assert len(listening) >= 4  # GCS, raylet, this driver, a worker
    assert [where for where in listening if not where.startswith(LOOPBACK)] == []
    assert [modes[0], len(modes[1])] == ["token", 64]
    assert not left
