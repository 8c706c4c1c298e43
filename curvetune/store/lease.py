"""Who works on a cell or a probe, so that two commands on one storage do not do the same work.

    cells/<cell_id>/lease-<token>.json     its time stamp is the holder's heartbeat
    probes/<probe_id>/lease-<token>.json

A lease is taken by making the file with the next token, which a file system lets one process do.
While its holder lives, a thread renews the time stamp; a lease whose heart has stopped is taken
over with a higher token. A holder that was only frozen meanwhile finds that token before it writes,
and what it publishes late is refused (`Lease.check`, and `publish_json` in files.py).

Nothing here needs clocks that agree: an age is the difference of two time stamps of the same file
system. On the holder's own machine a dead process is known at once.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curvetune.errors import BusyError, LostLeaseError, StorageError, printable
from curvetune.store.remote.leases import BucketTokens
from curvetune.store.remote.paths import mirror_of
from curvetune.store.tokens import NAME, FolderTokens, Tokens

__all__ = ["NAME", "Holder", "Lease", "leased", "read_holder"]

LEASE_S = 60.0  # how long a heart may stand still; CURVETUNE_LEASE_S sets another time
BEATS = 6  # heartbeats in that time


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, or held it last."""

    host: str
    pid: int
    since: float  # Unix seconds
    token: int
    alive: bool

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class Lease:
    """The right to write to one folder, for as long as no one has a higher token."""

    def __init__(self, folder: Path, token: int, tokens: Tokens, text: str, sure_s: float) -> None:
        """Hold `token`; for `sure_s` after a beat nobody needs to be asked whether it is held."""
        self.folder = folder
        self.token = token
        self._tokens = tokens
        self._text = text
        self._sure_s = sure_s
        self._beaten = time.monotonic()

    def check(self) -> None:
        """Do nothing while the lease is held.

        Raises:
            LostLeaseError: another process took it over, since this one stood still.
        """
        if time.monotonic() - self._beaten < self._sure_s:
            return
        newest = max(self._tokens.all(), default=None)
        if newest != self.token:
            raise LostLeaseError(
                f"{self.folder}: another process took over (token {newest}, ours is {self.token}), "
                f"since this one stood still for too long; it writes nothing more there"
            )

    def _beat(self, stop: threading.Event, every_s: float) -> None:
        while not stop.wait(every_s):
            began = time.monotonic()
            with contextlib.suppress(OSError, StorageError):  # a folder that is gone: see `check`
                self._tokens.beat(self.token, self._text)
                self._beaten = began

    def _release(self) -> None:
        with contextlib.suppress(OSError, StorageError):  # others wait for its time to end
            self._tokens.release(self.token, self._text)


@contextlib.contextmanager
def leased(folder: Path) -> Iterator[Lease]:
    """Hold the lease of `folder` while the block runs.

    In a mirror of an object store, the folder is then as the bucket has it.

    Raises:
        BusyError: a process that is alive holds it.
        StorageError: it cannot be written.
    """
    lease_s = float(os.environ.get("CURVETUNE_LEASE_S", LEASE_S))
    lease = _take(folder, lease_s)
    stop = threading.Event()
    beat = threading.Thread(target=lease._beat, args=(stop, lease_s / BEATS), daemon=True)
    beat.start()
    try:
        if (mirror := mirror_of(folder)) is not None:
            mirror.pull_folder(folder)
        yield lease
    finally:
        stop.set()
        beat.join()
        lease._release()


def read_holder(folder: Path) -> Holder | None:
    """Return who holds the lease of a folder, or held it last; None if nobody ever did."""
    return _holder(_tokens_of(folder, fresh=False))


def _holder(tokens: Tokens) -> Holder | None:
    token = max(tokens.all(), default=None)
    if token is None:
        return None
    try:
        beat, text = tokens.read(token)
        content = json.loads(text or b"{}")
        return Holder(
            host=printable(content.get("host", "unknown")),
            pid=int(content.get("pid", 0)),
            since=float(content.get("since", beat)),
            token=token,
            alive=beat > 0 and _is_alive(content, tokens, beat),
        )
    except FileNotFoundError:  # removed at this moment, by whoever took it over
        return Holder("unknown", 0, time.time(), token, alive=True)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # nobody wrote this
        return Holder("unknown", 0, time.time(), token, alive=False)


def _take(folder: Path, lease_s: float) -> Lease:
    tokens = _tokens_of(folder, fresh=True)
    holder = _holder(tokens)
    if holder is not None and holder.alive:
        raise BusyError(f"{folder}: {holder} is working on it", str(folder))
    token = 1 if holder is None else holder.token + 1
    me = {"host": socket.gethostname(), **_process(os.getpid()), "nonce": secrets.token_hex(8)}
    text = json.dumps(me | {"since": time.time(), "lease_s": lease_s})
    began = time.monotonic()
    try:
        tokens.make(token, text)
    except FileExistsError:
        raise BusyError(f"{folder}: another process just took it", str(folder)) from None
    for old in tokens.all():
        if old < token:
            tokens.remove(old)
    # On a disk a look costs nothing. A bucket is asked only where a beat may have failed.
    sure_s = 0.0 if isinstance(tokens, FolderTokens) else lease_s / 2
    lease = Lease(folder, token, tokens, text, sure_s)
    lease._beaten = began
    return lease


def _tokens_of(folder: Path, *, fresh: bool) -> Tokens:
    mirror = mirror_of(folder)
    return FolderTokens(folder) if mirror is None else BucketTokens(mirror, folder, fresh=fresh)


def _is_alive(content: dict[str, object], tokens: Tokens, beat: float) -> bool:
    """Say whether a holder that has not released its lease still works."""
    pid = int(str(content.get("pid", 0)))
    here = _process(pid)
    on_this_machine = all(content.get(key) == here[key] for key in ("boot", "space"))
    if on_this_machine and content.get("started") != here["started"] and not _is_hidden(pid):
        return False  # and gone
    return tokens.now() - beat <= float(str(content.get("lease_s", LEASE_S)))


def storage_time(folder: Path) -> float:
    """Return the time by the clock of the file system, or object store, that `folder` is on."""
    return _tokens_of(folder, fresh=False).now()


def _process(pid: int) -> dict[str, object]:
    """Return what tells a process apart from all others, of this machine and of earlier boots.

    All empty where there is no /proc: then only the heartbeat tells.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # proc(5), from its field 3 on
    return {
        "pid": pid,
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "space": _link("/proc/self/ns/pid"),
        "started": fields[19] if fields and fields[0] not in "ZX" else "",  # a zombie is dead
    }


def _is_hidden(pid: int) -> bool:
    """Say whether another user's process is there that /proc does not show (its hidepid option)."""
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return not os.path.exists(f"/proc/{pid}")
    except (OSError, OverflowError):
        pass
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
