"""The Ray cluster that trials run on: reaching it, and what its nodes have."""

import atexit
import contextlib
import gc
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from curvetune.errors import BackendError
from curvetune.tune import tokens
from curvetune.tune.address import chosen_address
from curvetune.tune.job import UV_RUN, how_to_connect
from curvetune.tune.ray_folder import choose_folder, logs_of_this_process, own_folder
from curvetune.tune.reach import Service, check_driver, unreachable
from curvetune.tune.watch import Watch, limits, patient_core, watched

LEAVE_S = 3.0  # for Ray to leave a cluster that is gone

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a research tool does not phone home unasked
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # pick_device does not need it; else Ray warns
}

# What Tune tells its workers on a Ray of our own goes into the environment of all of them: a trial
# with a variable of its own would get a new worker, and the idle ones would stay so.
FOR_ALL_WORKERS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the trial's folder will be gone before the worker
}
# Each trial is a new thread, for which glibc may take another arena, of the 8 for each core: in
# each may stay what the largest step took. Assumption: what it saves in a whole grid is not
# measured yet (docs/measurements.md).
OF_WORKERS = FOR_ALL_WORKERS | {"MALLOC_ARENA_MAX": "1"}

_is_ours = threading.Event()  # whether this process runs a Ray that it has started

logger = logging.getLogger(__name__)


def is_ours() -> bool:
    """Say whether this process runs on a Ray that it has started, which has one node."""
    return _is_ours.is_set()


def nodes() -> list[Mapping[str, float]]:
    """Return what each living node of the cluster has, as {"CPU": 8.0, "GPU": 2.0, …}."""
    table: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in table if node["Alive"]]


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to Ray, or start it here; one that this process has is used and left.

    Args:
        address: host:port, `auto`, `local` to start Ray here, or None: RAY_ADDRESS, else here.

    Raises:
        BackendError: it cannot be reached or started, or is gone.
        ConfigError: RAY_ADDRESS is none for a grid.
    """
    if ray.is_initialized():
        yield
        return
    chosen, label = chosen_address(address)
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    if chosen is None:
        with _started_here():
            yield
        return
    if address is None:
        logger.warning("%s: running on that cluster; --address local runs here", label)
    with _joined(chosen, label):
        yield


@contextlib.contextmanager
def _started_here() -> Iterator[None]:
    """Start Ray on this machine, where nobody else reaches it, and end it."""
    chosen = choose_folder()
    with own_folder(chosen) as folder, tokens.own_token(), environment(OF_WORKERS):
        try:
            with _on_loopback():
                _init(None, folder)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and others
            reason = f"{type(error).__name__}: {error}"
            raise BackendError(_not_started(reason, folder or chosen.folder)) from error
        _is_ours.set()
        try:
            yield
        finally:
            _is_ours.clear()
            _leave()


@contextlib.contextmanager
def _joined(address: str, label: str) -> Iterator[None]:
    """Be a driver of a cluster until it, or the block, ends."""
    head = check_driver(address, label)
    tokens.protect_file()
    refused_s, silent_s = limits()
    with patient_core():
        try:
            _init(address, None)
        except Exception as error:
            raise unreachable(label, f"{type(error).__name__}: {error}") from error
        watch = Watch(head, _this_node(label), refused_s, silent_s)
        try:
            with watched(watch):
                yield
        finally:
            _abandon() if watch.words else _leave()


def _this_node(label: str) -> Service | None:
    """Return where the node listens that this process is a driver on."""
    own = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == own:
            return Service(node["NodeManagerAddress"], node["NodeManagerPort"], label)
    return None


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
def _on_loopback() -> Iterator[None]:
    """Let all of a Ray that is started now listen on 127.0.0.1 alone.

    It is Ray's own way on macOS and Windows. An address given as `_node_ip_address="127.0.0.1"`
    would be replaced by one that others reach (2.60: services.resolve_ip_for_localhost), and with
    any other than 127.0.0.1 GCS, raylet and workers listen on all interfaces.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


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


def _abandon() -> None:
    """Leave a cluster that is gone: Ray waits for it at the end, and of the process once more."""
    leaving = threading.Thread(target=_leave, daemon=True)
    leaving.start()
    leaving.join(LEAVE_S)
    if leaving.is_alive():
        atexit.unregister(ray.shutdown)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, and unset them at the end."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def without_copies() -> Iterator[None]:
    """Let Ray Tune copy no AWS keys into what it tells of its workers while the block runs.

    It would (ENV_VARS_TO_PROPAGATE), and the runtime environment of a worker is written, key by
    key, to Ray's logs (runtime_env_agent.log; ray #28276). Our trials need none: the storage is a
    folder. Workers on this machine inherit the environment all the same. So on a Ray of our own
    nothing is copied: a trial without a runtime environment gets a worker that is there already.
    """
    is_ours = _is_ours.is_set()
    names, more = _copied_by_tune()
    left_out = {name for name in names if is_ours or name.startswith("AWS_")}
    added = dict(more) if is_ours else {}
    names.difference_update(left_out)
    for name in added:
        del more[name]
    try:
        yield
    finally:
        names.update(left_out)
        more.update(added)


def _copied_by_tune() -> tuple[set[str], dict[str, str]]:
    """Return Ray Tune's own: the names that it copies to its workers, and what it adds."""
    try:
        from ray.tune.execution import class_cache
    except ImportError:  # another Ray, which has it elsewhere or not at all
        return set(), {}
    names = getattr(class_cache, "ENV_VARS_TO_PROPAGATE", None)
    more = getattr(class_cache, "DEFAULT_ENV_VARS", None)
    return names if isinstance(names, set) else set(), more if isinstance(more, dict) else {}


def _not_started(reason: str, folder: Path) -> str:
    logs = logs_of_this_process(folder)
    end = f"its logs: {logs}" if logs else "it left no logs"
    return f"Ray could not be started here ({reason}); {end}"
