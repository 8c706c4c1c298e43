"""A command in a host of the bed, and how tests wait: for a fact, with a limit."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

UP_S = 60.0  # what anything may take to start, on a busy machine
T = TypeVar("T")


class Outcome(NamedTuple):
    """How a command ended, and all that it printed."""

    code: int
    output: str


def until(fact: Callable[[], T | None], limit_s: float, what: str | Callable[[], str]) -> T:
    """Return what `fact` returns once that is true; fail with `what` was waited for."""
    deadline = time.monotonic() + limit_s
    while not (found := fact()):
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {limit_s:g} s: {text}")
        time.sleep(0.05)
    return found


class Process:
    """A command that runs in a host."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path, name: str) -> None:
        self._popen = popen
        self._log = log
        self.name = name

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """Return its exit code (minus a signal that ended it), or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float = 120.0) -> Outcome:
        """Wait for its end."""
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            raise AssertionError(
                f"{self.name} still ran after {timeout_s:g} s:\n{self.output}"
            ) from None
        return Outcome(code, self.output)

    def signal(self, number: int) -> None:
        """Send a signal to the command itself, not to what it started."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            task = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
            os.kill(int(task.read_text().split()[0]), number)  # the only child of nsenter

    def says(self, text: str, limit_s: float = UP_S) -> None:
        """Wait until it has printed `text`; fail if it ends before."""

        def said() -> bool:
            ended = self.poll() is not None  # before the look, so that last words are seen
            assert text in self.output or not ended, f"{self.name} ended:\n{self.output}"
            return text in self.output

        until(said, limit_s, lambda: f"{self.name} says {text!r}; it said:\n{self.output}")
