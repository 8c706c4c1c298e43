"""MLflow's server for one user on this machine: started, waited for, ended."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

HOST = "127.0.0.1"  # the server asks nobody for a password
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = [code for name in ENDS for code in (-name, 128 + name)]  # ended by one of them
STDERR = 2
LOOK_S = 0.2  # between two looks whether it answers


def server_command(uri: str, artifacts: str, port: int) -> list[str]:
    """Return the command that starts the MLflow server for one user on this machine."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--artifacts-destination", artifacts),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--uvicorn-opts", "--log-level warning"),  # no line for each request
    ]


def serve(command: Sequence[str], url: str, ready: Callable[[], None]) -> int:
    """Run a server to its end and return its exit code; a signal to us ends the server too.

    Args:
        url: of the server.
        ready: is called once it answers.
    """
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eleven more processes
        "PYTHONWARNINGS": "ignore",  # MLflow's own deprecations
    }
    # a group of its own: Ctrl-C reaches it once, from us, and it can shut down in order
    with subprocess.Popen(
        command,
        env={**quiet, **os.environ},
        stdout=STDERR,  # where what it says belongs: ours is for addresses
        # `python -m` and uvicorn (--app-dir) would take an mlflow.py of the user's for MLflow
        cwd="/",
        start_new_session=True,
    ) as server:
        ended = threading.Event()

        def stop(*_: object) -> None:
            server.send_signal(signal.SIGINT)

        def wait() -> None:
            while not ended.wait(LOOK_S):
                if answers(url):
                    # another server may have had the port: then ours ends, and that is told
                    if not ended.wait(LOOK_S) and server.poll() is None:
                        ready()
                    return

        before = {name: signal.signal(name, stop) for name in ENDS}
        threading.Thread(target=wait, name="ready", daemon=True).start()
        try:
            return server.wait()
        finally:
            ended.set()
            for name, handler in before.items():
                signal.signal(name, handler)


def answers(url: str) -> bool:
    """Say whether an MLflow server answers at `url`; no proxy is asked."""
    with contextlib.suppress(urllib.error.URLError, OSError, ValueError):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/health", timeout=1):
            return True
    return False
