"""Tells a web hook how a grid ended: one small JSON, without secrets, paths or host names.

The grid is what counts: whatever happens to the notice is one warning, and takes seconds at most.
"""

import base64
import contextlib
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from curvetune.errors import INTERRUPTED, PREEMPTED, ConfigError, CurvetuneError
from curvetune.system.redact import hook_shown, redact

SCHEMA_VERSION = 1
TIMEOUT_S = 5.0
PREEMPTED_S = 1.5  # of the 10 s that a preempted process has, most go to its checkpoints

GridEnd = Literal["done", "failed", "interrupted", "preempted"]
STATES: dict[int, GridEnd] = {0: "done", INTERRUPTED: "interrupted", PREEMPTED: "preempted"}

logger = logging.getLogger(__name__)


def check_hook(url: str | None) -> None:
    """Refuse what cannot be an address of a web hook.

    Raises:
        ConfigError: it is one of another kind, or has no server.
    """
    if url is None:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable or not url.isascii() or any(c.isspace() for c in url):
        raise ConfigError(
            f"--notify {hook_shown(url)}: give the address of a web hook, http://host/path or "
            f"https://host/path, percent-encoded"
        )


@dataclass
class Ending:
    """How a grid came out, as far as whoever runs it says so; an error says it by itself."""

    state: GridEnd = "done"


@contextlib.contextmanager
def notified(url: str | None, storage: Path | str, grid: str) -> Iterator[Ending]:
    """Run a block that runs `grid`, and tell `url` how it came out; its errors pass through."""
    start, ending = monotonic(), Ending()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.state = "interrupted"
        raise
    except Exception as error:  # typer.Exit and CurvetuneError know their exit code
        ending.state = STATES.get(getattr(error, "exit_code", 1), "failed")
        raise
    finally:
        notify(url, storage, grid, ending.state, monotonic() - start)


def notify(url: str | None, storage: Path | str, grid: str, state: GridEnd, seconds: float) -> None:
    """Post how `grid` came out to `url`, if there is one; never raise.

    Args:
        seconds: that the command took.
    """
    if url is None:
        return
    limit_s = PREEMPTED_S if state == "preempted" else TIMEOUT_S
    problem = [f"no answer within {limit_s:g} s"]

    def post() -> None:  # in a thread, since neither a name server nor a slow answer has a timeout
        try:
            _post(url, message(storage, grid, state, seconds), limit_s)
            problem.clear()
        except Exception as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            problem[:] = [redact(str(reason) or type(error).__name__)[:200]]

    thread = threading.Thread(target=post, name="notify", daemon=True)
    with contextlib.suppress(KeyboardInterrupt, RuntimeError):  # in a hurry, or out of threads
        thread.start()
        thread.join(limit_s)
    for reason in problem[:1]:
        logger.warning(
            "--notify %s: %s; nobody was told, and the grid is as it is", hook_shown(url), reason
        )


def message(storage: Path | str, grid: str, state: GridEnd, seconds: float) -> dict[str, Any]:
    """Return what a web hook is told of a grid."""
    from curvetune.analysis.aggregate import method_rows
    from curvetune.grids.cells import read_grid

    told: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "grid": grid, "state": state}
    numbers: dict[str, Any] = {"cells": 0, "cells_done": 0, "cells_failed": 0, "ma": {}}
    with contextlib.suppress(CurvetuneError):  # it failed before the storage knew of the grid
        found = read_grid(storage, grid)
        counts = found.counts()
        numbers = {
            "cells": len(found.cells),
            "cells_done": counts["done"],
            "cells_failed": counts["failed"],
            "ma": {row.label: row.ma.mean for row in method_rows(found)},
        }
    return {**told, **numbers, "seconds": round(seconds, 1)}


def _post(url: str, content: dict[str, Any], timeout_s: float) -> None:
    """Send `content`; the answer's text is not read, and it is not followed elsewhere."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json", "User-Agent": "curvetune"}
    if at:
        user = base64.b64encode(unquote(userinfo).encode()).decode()
        headers["Authorization"] = f"Basic {user}"
    address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    body = json.dumps(content).encode()
    request = urllib.request.Request(address, body, headers, method="POST")
    opener = urllib.request.build_opener(_NotElsewhere)
    try:
        opener.open(request, timeout=timeout_s).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"it answered {error.code}") from None


class _NotElsewhere(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for what it is to a POST: a refusal."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""
