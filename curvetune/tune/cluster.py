"""The Ray cluster that trials run on: reaching it, and what its nodes have."""

import contextlib
import gc
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from curvetune.errors import BackendError
from curvetune.tune.job import UV_RUN, how_to_connect
from curvetune.tune.ray_folder import (
    RayFolder,
    choose_folder,
    logs_of_this_process,
    own_folder,
)

CONNECT_TIMEOUT_S = 5.0

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a research tool does not phone home unasked
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # pick_device does not need it; else Ray warns
}
TOKEN_FILE = Path(".ray", "auth_token")  # in the home folder


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
    chosen = choose_folder() if address is None else RayFolder(Path())
    with own_folder(chosen) as folder:
        if address is None:
            give_token()
        try:
            _init(address, folder)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and others
            reason = f"{type(error).__name__}: {error}"
            where = folder or chosen.folder
            raise BackendError(_unreachable(address, reason, where)) from error
        try:
            _protect_token()
            yield
        finally:
            _leave()


def _init(address: str | None, folder: Path | None) -> None:
    with _workers_as_driver():
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **how_to_connect(address),
            _temp_dir=None if folder is None else str(folder),
        )


@contextlib.contextmanager
def _workers_as_driver() -> Iterator[None]:
    """Let workers have the driver's Python, where `uv run` started that.

    Ray would run `uv run` again for each worker, upload the working directory for it, and refuse
    below the project's folder. It read the variable when it was imported.
    """
    before = getattr(ray_constants, UV_RUN, None)
    if before is None or UV_RUN in os.environ:  # another Ray, or the user's choice
        yield
        return
    setattr(ray_constants, UV_RUN, False)
    try:
        yield
    finally:
        setattr(ray_constants, UV_RUN, before)


def give_token() -> None:
    """Make a token for the clusters of this process alone, where Ray could not keep one.

    It writes `~/.ray/auth_token`, unless it finds a token, and ends where it cannot.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        token = Path.home() / TOKEN_FILE
        if os.access(token, os.R_OK):
            return
        token.parent.mkdir(parents=True, exist_ok=True)  # as Ray would
        with tempfile.TemporaryFile(dir=token.parent):
            return
    except (OSError, RuntimeError):  # cannot be written, or there is no home at all
        # for the whole process, as Ray reads its token once
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


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
    with contextlib.suppress(OSError, RuntimeError):
        token = Path.home() / TOKEN_FILE
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
        raise BackendError(_unreachable(address, str(error), Path())) from None


def _unreachable(address: str | None, reason: str, folder: Path) -> str:
    if address is None:
        logs = logs_of_this_process(folder)
        end = f"its logs: {logs}" if logs else "it left no logs"
        return f"Ray could not be started here ({reason}); {end}"
    return (
        f"--address {address}: no Ray cluster can be reached there ({reason}); give host:port of "
        f"its head node (`ray start --head` prints it), or leave --address out to run here"
    )
