"""Ends a command whose cluster is gone, in a sentence and with an exit code of ours.

Ray's core ends the whole process itself when its head has been silent for a minute: exit code 1, a
line of C++, a terminal without a cursor. So a thread looks first. It raises in the thread that
drives the cluster; and where that is caught in a call of Ray's which never returns, it ends the
process.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ray._raylet import Config  # type: ignore[attr-defined]

from curvetune.errors import BackendError, CurvetuneError
from curvetune.tune.reach import Service

EVERY_S = 1.0
ANSWER_S = 3.0
REFUSED_S = 15.0  # the host is there and the process is not; a supervisor may start it again
SILENT_S = 90.0  # the network may come back: a partition of a minute is to be survived
RAISING_S = 10.0  # for the driver to leave; then the process is ended
TIMEOUT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # after which Ray's core ends the process
SHOW_CURSOR = "\x1b[?25h"


class _Lost(BaseException):
    """Raised in the driver's thread; no Exception, since Ray Tune catches those in many places."""


@dataclass
class Watch:
    """What is known of a cluster's head and of this host's node."""

    head: Service
    node: Service | None
    refused_s: float = REFUSED_S
    silent_s: float = SILENT_S
    raising_s: float = RAISING_S
    words: str = ""  # why the cluster is lost; empty while it is not
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, driver: int) -> None:
        """Look until the end, or until the cluster is lost and its driver has left."""
        since = dict.fromkeys(("head", "node"), time.monotonic())
        while not self._ended and not self.words:
            time.sleep(EVERY_S)
            self.words = self._look("head", self.head, since)
            if not self.words and self.node is not None:
                self.words = self._look("node", self.node, since)
        deadline = time.monotonic() + self.raising_s
        while not self._ended and time.monotonic() < deadline:
            self._raise_in(driver)
            time.sleep(EVERY_S)
        if not self._ended:
            end_process(self.words)

    def _look(self, what: str, service: Service, since: dict[str, float]) -> str:
        """Return why a service is lost; nothing while it answers, or while it may come back."""
        try:
            if service.answers(ANSWER_S):
                since[what] = time.monotonic()
            limit = self.silent_s
        except ConnectionRefusedError:
            limit = self.refused_s
        except OSError:
            limit = self.silent_s
        if time.monotonic() - since[what] <= limit:
            return ""
        return lost_words(what, service, since[what])

    def _raise_in(self, thread: int) -> None:
        with self._lock:
            if not self._ended:
                _set_exception(thread, _Lost)

    def end(self, driver: int) -> None:
        """Raise nothing any more."""
        with self._lock:
            self._ended = True
            _set_exception(driver, None)

    def explains(self) -> bool:
        """Say whether an error of Ray's is that the cluster is gone."""
        if self.words:
            return True
        since = time.monotonic()
        for what, service in (("head", self.head), ("node", self.node)):
            if service is None:
                continue
            try:
                service.answers(ANSWER_S)
            except OSError:
                self.words = lost_words(what, service, since)
                return True
        return False


def lost_words(what: str, service: Service, since: float) -> str:
    """Return what people are told of a cluster that is gone."""
    who = "the head of the cluster" if what == "head" else "the Ray node on this host"
    ago = time.monotonic() - since
    at = time.strftime("%H:%M:%S", time.localtime(time.time() - ago))
    return (
        f"{service.label}: {who} at {service.host}:{service.port} does not answer since {at}; "
        f"finished cells are in the storage; run the same command again once the cluster is there"
    )


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Raise BackendError in this thread, while the block runs, once the cluster is lost.

    Raises:
        BackendError: it is lost.
    """
    driver = threading.get_ident()
    threading.Thread(target=watch.run, args=(driver,), name="head-watch", daemon=True).start()
    try:
        yield
    except _Lost:
        watch.end(driver)
        raise BackendError(watch.words) from None
    except Exception as error:
        watch.end(driver)
        is_of_ray = isinstance(error, BackendError) or not isinstance(error, CurvetuneError)
        if is_of_ray and watch.explains():
            raise BackendError(watch.words) from error
        raise
    finally:
        watch.end(driver)


def limits() -> tuple[float, float]:
    """Return how long a port may be closed, and silent: less than the user's limit for Ray."""
    with contextlib.suppress(ValueError):
        most = 0.75 * float(os.environ[TIMEOUT]) if TIMEOUT in os.environ else SILENT_S
        return min(REFUSED_S, most), min(SILENT_S, most)
    return REFUSED_S, SILENT_S


@contextlib.contextmanager
def patient_core() -> Iterator[None]:
    """Keep Ray's core from ending this process before we do, unless the user set its limit."""
    if TIMEOUT in os.environ:
        yield
        return
    os.environ[TIMEOUT] = str(int(SILENT_S + 2 * RAISING_S + 60))
    Config.initialize("")
    try:
        yield
    finally:
        os.environ.pop(TIMEOUT, None)
        Config.initialize("")


def end_process(words: str) -> None:
    """Say what happened and end this process at once, with the cursor back on the terminal."""
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{cursor}\nerror: {words}\n")
        sys.stderr.flush()
    os._exit(BackendError.exit_code)


def _set_exception(thread: int, kind: type[BaseException] | None) -> None:
    raised = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
