"""The errors that curvetune raises for its users, and the exit code of each.

    CurvetuneError            1   something that curvetune knows went wrong
    ├── ConfigError           2   a key, value, name or path that the user gave is wrong
    │   └── DataError         2   the data cannot give what the config asks of it
    ├── StorageError          5   the storage cannot be read or written
    │   ├── CorruptError      5   a stored file is not what its checksum says
    │   └── StorageFullError  5   there is no space left
    ├── BackendError          5   Ray or MLflow cannot be reached
    │   └── NodeError         5   a node of a cluster cannot run trials
    ├── DerivativeError       2   a network hides an operation from the meta gradient
    ├── DivergedError         3   a loss is no longer a finite number
    ├── HangError             3   a cell made no progress, and its process was ended
    ├── StoppedError          4   asked to stop, and did so between two epochs
    │   └── PausedError       4   came to the epoch up to which it was to run for now
    ├── BusyError             4   another process works on it
    └── LostLeaseError        4   another process took over, and what came too late is refused

Every message says what was wrong with which value, what is allowed, and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal, get_args

# What a command exits with where no error ends it.
SOME_FAILED = 3  # every cell was run, and some have no result
INTERRUPTED = 4
PREEMPTED = 75  # by SIGTERM: run it again elsewhere (EX_TEMPFAIL of sysexits.h)

# What kind of failure ended a cell (FAILED.json), so that a kind can be treated alike.
FailureKind = Literal[
    "oom", "diverged", "hang", "lost", "import", "bad-data", "disk-full", "storage", "other"
]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


class CurvetuneError(Exception):
    """Base of all errors meant for the user; `cli.main` prints it and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class ConfigError(CurvetuneError):
    """A key, value, name or path that the user gave is wrong; raised before anything starts."""

    exit_code = 2


class DataError(ConfigError):
    """The data cannot give what the config asks: missing files, an empty class, too few images."""


class StorageError(CurvetuneError):
    """The storage cannot be read or written."""

    exit_code = 5


class CorruptError(StorageError):
    """A stored file is missing, short or not what its checksum says; it must be recomputed."""


class StorageFullError(StorageError):
    """There is no space left in the storage; nothing that is done is lost."""


class BackendError(CurvetuneError):
    """Ray or MLflow cannot be reached."""

    exit_code = 5


class NodeError(BackendError):
    """A node of a cluster cannot run trials."""


class DerivativeError(CurvetuneError):
    """The meta gradient of a network would be wrong, whichever way it is computed."""

    exit_code = 2


class DivergedError(CurvetuneError):
    """Training produced a loss that is not a finite number."""

    exit_code = 3


class HangError(CurvetuneError):
    """A cell made no progress for longer than it may, and its process was ended."""

    exit_code = 3


class StoppedError(CurvetuneError):
    """Training was asked to stop, and did so between two epochs; its checkpoint goes on there."""

    exit_code = 4


class PausedError(StoppedError):
    """Training came to the epoch up to which it was to run for now; its checkpoint goes on."""


class BusyError(CurvetuneError):
    """Another process that is alive works on it.

    Args:
        folder: whose lease it holds.
    """

    exit_code = 4

    def __init__(self, message: str, folder: str) -> None:
        super().__init__(message)
        self.folder = folder


class LostLeaseError(CurvetuneError):
    """This process stood still and another took its work over; what it would write is refused."""

    exit_code = 4


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed name, or nothing if none is close."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def printable(value: object, longest: int = 200) -> str:
    """Return a text that others gave on one line, at most so long, without control characters.

    A file name can hold a line end, or the codes that move a terminal's cursor.
    """
    text = str(value)[: longest + 1]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
