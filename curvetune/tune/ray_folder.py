"""The folder of temporary files for a Ray that is started here.

Ray makes `<RAY_TMPDIR, TMPDIR or /tmp>/ray`, and in it sockets. The path of a socket ends at 107
bytes, which the TMPDIR of a batch system can fill alone; and the folder may be another user's. A
grid then makes a short one of its own, for itself alone, and removes it at its end.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curvetune.errors import BackendError

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # of the path of a Unix socket
# What Ray adds: _private/node.py; the number is that of the process, at most (kernel/pid.h).
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
MOST_BYTES = SOCKET_BYTES - len(SOCKET)
OWN = "ray-"  # and eight letters of mkdtemp
INNER = "r"  # Ray opens its folder to everybody (2.60: chmod 0777), so a private one is around it
OWN_BYTES = len(f"/{OWN}12345678/{INNER}")
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # where an own folder may be, the best first
GONE_S = 5.0  # for Ray's processes to end, which write to the folder until then


@dataclass(frozen=True)
class RayFolder:
    """Where Ray's files go.

    Args:
        parent: of a folder of our own; None where Ray's own way is right.
        folder: Ray's own choice.
        trouble: why that does not do, if it does not.
    """

    folder: Path
    parent: Path | None = None
    trouble: str = ""


def choose_folder(
    environment: Mapping[str, str] = os.environ, short: Sequence[str] = SHORT
) -> RayFolder:
    """Return where a Ray that is started here is to keep its files; makes nothing.

    Raises:
        BackendError: there is no place; it says what to set.
    """
    names = ("RAY_TMPDIR", *(("TMPDIR",) if sys.platform.startswith("linux") else ()))
    named = next((environment[name] for name in names if environment.get(name)), "/tmp")
    folder = Path(named) / "ray"
    if not (trouble := _trouble(folder, MOST_BYTES)):
        return RayFolder(folder)
    for parent in (Path(named), *map(Path, short)):
        if os.path.isdir(parent) and not _trouble(parent, MOST_BYTES - OWN_BYTES):
            return RayFolder(folder, parent, trouble)
    raise BackendError(
        f"Ray has no folder for its sockets and logs: {trouble}; nor is there room in "
        f"{', '.join(short)}. Set RAY_TMPDIR to a folder that you can write, of at most "
        f"{MOST_BYTES - OWN_BYTES} bytes"
    )


def _trouble(folder: Path, most_bytes: int) -> str:
    """Return why Ray cannot use a folder, which need not be there; nothing if it can."""
    if not folder.is_absolute():
        return f"{folder} is not an absolute path"
    if (length := len(os.fsencode(folder))) > most_bytes:
        return f"{folder} is {length} bytes long, of at most {most_bytes} (paths of sockets)"
    # os.path, since Path.exists and is_dir raise below a folder that is closed
    place = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not os.path.isdir(place):
        return f"{place} is not a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written by this user"
    return ""


@contextlib.contextmanager
def own_folder(chosen: RayFolder) -> Iterator[Path | None]:
    """Make a private folder if one was chosen, and yield one in it for Ray; else yield None.

    It is removed at the end, but for where Ray failed and left logs, which say why.
    """
    if chosen.parent is None:
        yield None
        return
    private = Path(tempfile.mkdtemp(prefix=OWN, dir=chosen.parent))  # 0700
    folder = private / INNER
    try:
        yield folder
    except BackendError:
        if logs_of_this_process(folder) is None:
            _remove(private)
        raise
    except BaseException:
        _remove(private)
        raise
    _remove(private)


def _remove(folder: Path) -> None:
    """Remove a folder in which processes that end may still write for a moment."""
    deadline = time.monotonic() + GONE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.1)


def logs_of_this_process(folder: Path) -> Path | None:
    """Return where the Ray that this process started last wrote its logs; None without any.

    `session_latest` may be another run's; the name of a session ends with its driver's number.
    """
    with contextlib.suppress(OSError):
        sessions = sorted(folder.glob(f"session_*_{os.getpid()}"))
        if sessions:
            return sessions[-1] / "logs"
    return None
