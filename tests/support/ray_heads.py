"""A Ray cluster with a dashboard on loopback: a head and workers as processes, without curvetune.

The head needs what `ray[default]` has beyond `ray[tune]`. It is no dependency of the tests, since a
Ray that finds it starts more services each time: 7 s more of a start, and ports on all addresses.
CURVETUNE_RAY_DEFAULT names a folder that has it:

    pip install --target FOLDER --no-deps -r tests/support/ray_default.txt
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = "CURVETUNE_RAY_DEFAULT"
NEEDED = ("aiohttp_cors", "colorful", "opencensus", "prometheus_client", "smart_open", "virtualenv")
TOKEN = "a-token-of-this-cluster-0123456789"
UP_S = 90.0


def why_not() -> str | None:
    """Return why no head can have a dashboard here; None if one can."""
    if os.environ.get(FOLDER) or all(importlib.util.find_spec(name) for name in NEEDED):
        return None
    return f"no ray[default] here: name a folder that has it, {FOLDER} (tests/support/ray_heads.py)"


@dataclass
class Cluster:
    """Where it is, and what its nodes print."""

    dashboard: str
    address: str
    python: Path
    log: Path
    env: Mapping[str, str]

    def run(self, *words: str, timeout_s: float = 400.0) -> "subprocess.CompletedProcess[str]":
        """Run a `curvetune` of this checkout to its end, as a person who has the token."""
        process = self.start(*words)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{words} still runs: {process.communicate()[0]}") from None
        return subprocess.CompletedProcess(words, process.returncode, output)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a `curvetune` of this checkout."""
        name, *more = words
        return subprocess.Popen(
            [
                *(sys.executable, "-c", "from curvetune.cli import main; main()"),
                *(name, *more, "--address", self.dashboard),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        )


@contextlib.contextmanager
def cluster(
    *, workers: int = 0, cpus: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Start a cluster with a token, and end it.

    Args:
        workers: nodes beside the head, which then runs no trial.
        cpus: of each node that runs trials.
        env: variables of all nodes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="rh-", dir="/tmp") as name,
        contextlib.ExitStack() as up,
    ):
        folder = Path(name)
        python = _environment(folder / "venv")
        gcs, dashboard = free_port(), free_port()
        variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CURVETUNE_"))},
            "HOME": name,
            "RAY_TMPDIR": name,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            **(env or {}),
        }
        found = Cluster(
            f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", python, folder / "log", variables
        )
        default = os.environ.get(FOLDER)
        head_env = {**variables, **({"PYTHONPATH": default} if default else {})}
        head = ["--head", f"--port={gcs}", f"--num-cpus={0 if workers else cpus}"]
        head += ["--include-dashboard=true", f"--dashboard-port={dashboard}"]
        head += ["--dashboard-host=127.0.0.1", f"--dashboard-agent-listen-port={free_port()}"]
        up.enter_context(_node(found, head, head_env))
        _until_up(found)
        for number in range(workers):
            # a folder of its own: a node removes and unpacks again what another one uses
            apart = [f"--address={found.address}", f"--temp-dir={folder / str(number)}"]
            up.enter_context(_node(found, [*apart, f"--num-cpus={cpus}"], variables))
        yield found


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _environment(folder: Path) -> Path:
    """Make a virtual environment with all packages here but curvetune; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # as plain paths, so that the *.pth files there, which lead to curvetune, are not read
    borrowed = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return folder / "bin" / "python"


@contextlib.contextmanager
def _node(of: Cluster, options: list[str], env: Mapping[str, str]) -> Iterator[None]:
    words = ["start", "--block", "--node-ip-address=127.0.0.1", "--num-gpus=0", *options]
    with of.log.open("ab") as log:
        process = subprocess.Popen(
            [str(of.python), "-m", "ray.scripts.scripts", *words, "--disable-usage-stats"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_up(of: Cluster) -> None:
    request = urllib.request.Request(
        f"{of.dashboard}/api/version", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    deadline = time.monotonic() + UP_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"the head is not up after {UP_S:g} s:\n{of.log.read_text()}")
        time.sleep(0.2)
