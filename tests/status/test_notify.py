"""The notice of how a grid ended, against a real HTTP server on loopback."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import hooks
import pytest
import typer
from storage_fixtures import fail, finish, make_cells, write_grid

from curvetune.errors import BackendError, ConfigError
from curvetune.report.tables.main import report_json
from curvetune.status.notify import PREEMPTED_S, TIMEOUT_S, check_hook, notified, notify

FIELDS = [
    *("schema_version", "grid", "state", "cells", "cells_done", "cells_failed", "ma", "seconds"),
]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Four cells: two done, one failed, one waiting."""
    cells = make_cells(imbalances=(1,), noise_rates=(0.4,))
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 60.0)
    finish(tmp_path, cells[2], 64.0)
    fail(tmp_path, cells[1], f"RuntimeError: in {tmp_path} on {socket.gethostname()}")
    return tmp_path


def told(server: hooks.Server) -> dict[str, Any]:
    """What the only notice says."""
    (request,) = server.requests
    assert (request.method, request.headers["Content-Type"]) == ("POST", "application/json")
    content: dict[str, Any] = json.loads(request.body)
    return content


def test_a_notice_is_a_small_json_with_the_numbers_of_the_report(storage: Path) -> None:
    with hooks.listening() as server:
        notify(f"http://127.0.0.1:{server.port}/x", storage, "small", "failed", 12.34)
    content = told(server)
    assert list(content) == FIELDS
    means = {row["method"]: row["ma"] for row in report_json(storage, "small")["methods"]}
    assert content == {
        "schema_version": 1,
        "grid": "small",
        "state": "failed",
        "cells": 4,
        "cells_done": 2,
        "cells_failed": 1,
        "ma": means,
        "seconds": 12.3,
    }
    assert means == {"cross-entropy": 62.0, "curvenet": None}


def test_a_notice_names_no_path_no_host_and_nothing_of_the_environment(storage: Path) -> None:
    with hooks.listening() as server:
        notify(f"http://127.0.0.1:{server.port}/x", storage, "small", "failed", 1.0)
    (request,) = server.requests
    headers = " ".join(request.headers.values()).encode()
    for secret in (str(storage), socket.gethostname(), os.environ["HOME"], str(os.getpid())):
        assert secret.encode() not in request.body
        assert secret.encode() not in headers


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "done"),
        (typer.Exit(0), "done"),
        (typer.Exit(3), "failed"),
        (typer.Exit(4), "interrupted"),
        (typer.Exit(75), "preempted"),
        (KeyboardInterrupt(), "interrupted"),
        (BackendError("Ray is gone"), "failed"),
        (RuntimeError("a mistake"), "failed"),
    ],
)
def test_the_state_is_what_the_exit_code_says_and_the_error_passes_through(
    error: BaseException | None, state: str, storage: Path
) -> None:
    with hooks.listening() as server:
        url = f"http://127.0.0.1:{server.port}/"
        if error is None:
            with notified(url, storage, "small"):
                pass
        else:
            with pytest.raises(type(error)) as raised, notified(url, storage, "small"):
                raise error
            assert raised.value is error
    assert told(server)["state"] == state


def test_a_grid_that_failed_before_it_was_written_down_is_told_all_the_same(tmp_path: Path) -> None:
    with hooks.listening() as server:
        notify(f"http://127.0.0.1:{server.port}/", tmp_path, "new", "failed", 1.0)
    assert {key: told(server)[key] for key in ("grid", "cells", "ma")} == {
        "grid": "new",
        "cells": 0,
        "ma": {},
    }


@pytest.mark.parametrize(("code", "reason"), [(500, "500"), (404, "404"), (302, "302")])
def test_a_hook_that_refuses_is_one_warning_and_is_not_followed_elsewhere(
    code: int, reason: str, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with hooks.listening(lambda _: (code, b"no")) as server:
        url = f"http://me:pa55word@127.0.0.1:{server.port}/T0/B1?token=xyz"
        notify(url, storage, "small", "done", 1.0)
    assert len(server.requests) == 1
    (record,) = caplog.records
    said = record.getMessage()
    assert record.levelno == logging.WARNING
    assert reason in said
    assert f"--notify http://***@127.0.0.1:{server.port}/***: " in said
    assert not [part for part in ("me:", "pa55word", "T0", "B1", "token", "xyz") if part in said]


@pytest.mark.parametrize(("state", "limit_s"), [("done", TIMEOUT_S), ("preempted", PREEMPTED_S)])
def test_a_hook_that_never_answers_costs_seconds_and_less_when_preempted(
    state: Any, limit_s: float, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def wait(_: hooks.Request) -> tuple[int, bytes]:
        release.wait(30)
        return 200, b""

    with hooks.listening(wait) as server:
        start = time.monotonic()
        notify(f"http://127.0.0.1:{server.port}/", storage, "small", state, 1.0)
        seconds = time.monotonic() - start
        release.set()
    assert limit_s * 0.9 <= seconds <= limit_s + 5
    assert len(caplog.records) == 1


def test_without_a_hook_nothing_is_said(storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    notify(None, storage, "small", "done", 1.0)
    with notified(None, storage, "none such"):
        pass
    assert caplog.records == []


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://me:pw@host/x", "file:///etc/passwd", "host/x", "http://", "https:///x", ""),
        *("http://host:port/x", "http://host:99999/", "http://[::1/x", "http://host/a b"),
    ],
)
def test_what_is_no_address_of_a_hook_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--notify .*give the address of a web hook") as caught:
        check_hook(url)
    assert "pw" not in str(caught.value)


def test_good_addresses_are_not_refused() -> None:
    for url in (None, "http://host", "https://me:pw@host:8443/a/b?c=d", "http://[::1]:80/x"):
        check_hook(url)


GRID = """
base:
  data: {name: digits, train_limit: 150, test_limit: 100}
  model: {name: resnet8}
  allocate: {epochs: 1, batch_size: 32, milestones: [], warmup: 0}
grid:
  seed: [0]
  method: [{name: cross-entropy}]
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    "state",
    [
        "done",
        pytest.param("interrupted", marks=[pytest.mark.faults, pytest.mark.slow]),
    ],
)
def test_a_real_grid_tells_how_it_ended_and_keeps_its_exit_code(state: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        GRID if state == "done" else GRID.replace("epochs: 1", "epochs: 4000")
    )
    with hooks.listening(hooks.repeat) as server:  # which refuses, which must not matter
        command = [sys.executable, "-c", "from curvetune.cli import main; main()", "grid"]
        process = subprocess.Popen(
            [*command, "one.yaml", "--notify", f"http://127.0.0.1:{server.port}/"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while state == "interrupted" and process.poll() is None:
            if list(tmp_path.rglob("history.jsonl")):
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.1)
        _, said = process.communicate(timeout=120)
    assert process.returncode == {"done": 0, "interrupted": 4}[state], said
    content = told(server)
    assert content["state"] == state
    assert content["cells_done"] == {"done": 1, "interrupted": 0}[state]
    assert said.count("--notify") == 1 + (state == "interrupted")  # and in the command to go on
