"""Whether this process can be a driver of a cluster, known in seconds and said in one line.

Ray itself tries for up to a minute, and then names none of the reasons: a token, a port of
something else, another version of Ray or Python, or a host without a node of that cluster.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import services, utils
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]

from curvetune.errors import BackendError
from curvetune.tune import tokens

AUTO = "auto"
CONNECT_TIMEOUT_S = 5.0
JOINS_S = 5.0  # a node that has just been started is known to the head after about a second
# RFC 9113: what a client says first, and an empty frame of settings; a server answers with its own.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS, KIND = 4, 3  # the kind of that frame, and which of its bytes says so


@dataclass(frozen=True)
class Service:
    """Where a process of Ray listens: the head of a cluster (its GCS), or a node (its raylet).

    Args:
        label: by what name people gave it: `--address …` or `RAY_ADDRESS=…`.
    """

    host: str
    port: int
    label: str

    def answers(self, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
        """Say whether something that speaks as Ray does is alive there.

        Raises:
            OSError: nobody listens, or nothing is heard.
        """
        with socket.create_connection((self.host, self.port), timeout_s) as connection:
            connection.sendall(PREFACE)
            said = connection.recv(KIND + 1)
        return len(said) > KIND and said[KIND] == SETTINGS


def check_driver(address: str, label: str) -> Service:
    """Return the head of the cluster at an address, if this process can be a driver of it.

    Raises:
        BackendError: it cannot; it says why and what to do.
    """
    if address == AUTO:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does for it
        address = _found_here(label)
    head = _head(address, label)
    if trouble := tokens.trouble():
        raise BackendError(f"{label}: {trouble}; {tokens.HOW}")
    try:
        client, alive = _nodes(head)
        _check_versions(head, client)
        _check_is_node(head, client, alive)
    except ray.exceptions.RayError as error:  # RpcError: it answers no more
        raise unreachable(label, f"{type(error).__name__}: {error}") from None
    return head


def unreachable(label: str, reason: str) -> BackendError:
    """Return the error of a cluster that is not there."""
    return BackendError(
        f"{label}: no Ray cluster can be reached there ({reason}); give host:port of "
        f"its head node (`ray start --head` prints it), or `--address local` to run here"
    )


def _found_here(label: str) -> str:
    """Return the address of the cluster that this host is a node of."""
    services.find_gcs_addresses.cache_clear()  # type: ignore[attr-defined]
    try:
        return str(services.canonicalize_bootstrap_address_or_die(AUTO))
    except (ConnectionError, ValueError) as error:
        raise unreachable(label, str(error).splitlines()[0]) from None


def _head(address: str, label: str) -> Service:
    host, _, port = address.rpartition(":")
    try:
        head = Service(host.strip("[]"), int(port), label)
        if not head.answers():
            raise unreachable(
                label, "what listens there is not Ray's head; its port is mostly 6379"
            )
    except (OSError, ValueError, OverflowError) as error:
        raise unreachable(label, str(error)) from None
    return head


def _nodes(head: Service) -> tuple[Any, list[Any]]:
    """Return a client of the head, and the cluster's living nodes."""
    try:
        with _quiet_core():
            client = GcsClient(address=f"{_resolved(head)}:{head.port}")
            return client, _alive(client)
    except ray.exceptions.AuthenticationError:
        mode = os.environ.get(tokens.MODE) or "unset, so that none was sent"
        raise BackendError(
            f"{head.label}: token refused ({tokens.MODE} is {mode}); {tokens.HOW}"
        ) from None


def _resolved(head: Service) -> str:
    return f"[{head.host}]" if ":" in head.host else head.host


def _alive(client: Any) -> list[Any]:
    state = GcsNodeInfo.GcsNodeState.ALIVE
    return list(client.get_all_node_info(timeout=CONNECT_TIMEOUT_S, state_filter=state).values())


def _check_versions(head: Service, client: Any) -> None:
    """Refuse a cluster of another Ray or Python, as Ray does, which then tells it in six lines."""
    said = client.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=CONNECT_TIMEOUT_S)
    if not said:
        return
    theirs = json.loads(said)
    try:
        utils.check_version_info(theirs, "this host")
    except RuntimeError:
        here = f"Ray {ray.__version__} and Python {sys.version.split()[0]}"
        raise BackendError(
            f"{head.label}: the cluster has Ray {theirs['ray_version']} and Python "
            f"{theirs['python_version']}, this host has {here}; use the same on both sides"
        ) from None


def _check_is_node(head: Service, client: Any, alive: list[Any]) -> None:
    """Refuse a host where no node of the cluster runs: a driver needs its object store."""
    deadline = time.monotonic() + JOINS_S
    while here := set(services.find_node_ids()):  # type: ignore[no-untyped-call]
        if any(node.node_id.hex() in here for node in alive):
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
        alive = _alive(client)
    names = sorted(node.node_manager_address for node in alive)
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
    heads = [node.node_manager_address for node in alive if node.is_head_node] or [head.host]
    raise BackendError(
        f"{head.label}: no node of that cluster runs on this host (its nodes: {shown}), which a "
        f"grid needs; run it on a node of the cluster, or "
        f"`curvetune submit SPACE --address http://{heads[0]}:8265`"
    )


@contextlib.contextmanager
def _quiet_core() -> Iterator[None]:
    """Keep what Ray's core writes to stderr; it is shown unless the block fails, which says it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.truncate(0)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            if text := said.read():
                os.write(2, text)
