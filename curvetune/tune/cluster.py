"""The Ray cluster that trials run on: reaching it, and what its nodes have."""

import contextlib
import gc
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from curvetune.errors import BackendError

CONNECT_TIMEOUT_S = 5.0

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a research tool does not phone home unasked
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # pick_device does not need it; else Ray warns
}


def nodes() -> list[Mapping[str, float]]:
    """Return what each living node of the cluster has, as {"CPU": 8.0, "GPU": 2.0, …}."""
    table: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in table if node["Alive"]]


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to Ray at `address`, or start it here; one that this process has is used and left.

    Raises:
        BackendError: it cannot be reached or started.
    """
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
        raise BackendError(_unreachable(address, f"{type(error).__name__}: {error}")) from error
    try:
        _protect_token()
        yield
    finally:
        _leave()


def _leave() -> None:
    """Leave Ray, and let no garbage be collected meanwhile.

    While Ray's core shuts down, an object reference that another thread's collection frees ends
    the whole process with exit code 1 (core_worker_process.cc: "accesses the Ray's worker after it
    is shutdown"). Two threads of ours go on until the grid has ended.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def without_keys() -> Iterator[None]:
    """Let Ray Tune copy no AWS keys into what it tells of its workers while the block runs.

    It would (ENV_VARS_TO_PROPAGATE), and the runtime environment of a worker is written, key by
    key, to Ray's logs (runtime_env_agent.log; ray #28276). Our trials need none: the storage is a
    folder. Workers on this machine inherit the environment all the same.
    """
    names = _copied_names()
    keys = {name for name in names if name.startswith("AWS_")}
    names.difference_update(keys)
    try:
        yield
    finally:
        names.update(keys)


def _copied_names() -> set[str]:
    """Return Ray Tune's own set of the variables that it copies to its workers."""
    try:
        from ray.tune.execution import class_cache
    except ImportError:  # another Ray, which has it elsewhere or not at all
        return set()
    names = getattr(class_cache, "ENV_VARS_TO_PROPAGATE", None)
    return names if isinstance(names, set) else set()


def _protect_token() -> None:
    """Let nobody else read the token of this user's clusters: Ray 2.60 makes it world-readable."""
    token = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        if token.stat().st_mode & 0o077:
            token.chmod(0o600)


def _check_reachable(address: str | None) -> None:
    """Refuse a host:port that nobody listens at; Ray itself would try for a long time."""
    host, _, port = (address or "").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise BackendError(_unreachable(address, str(error))) from None


def _unreachable(address: str | None, reason: str) -> str:
    if address is None:
        return f"Ray could not be started here ({reason}); its logs: /tmp/ray/session_latest/logs"
    return (
        f"--address {address}: no Ray cluster can be reached there ({reason}); give host:port of "
        f"its head node (`ray start --head` prints it), or leave --address out to run here"
    )
