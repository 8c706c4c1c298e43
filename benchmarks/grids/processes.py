"""What a command and all the processes that it starts take: processor time and memory.

They are found by a variable in their environment, so those of Ray are counted, which leave the
command's process group. Linux only.
"""

import contextlib
import os
import subprocess
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "CURVETUNE_MEASURED"
EVERY_S = 0.25  # how often processor times are read
MEMORY_EVERY_S = 1.5  # proportional set sizes take the kernel longer
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Process:
    """What was seen of a process last."""

    role: str
    cpu_s: float = 0.0
    pss_bytes: int = 0
    peak_bytes: int = 0


@dataclass
class Measured:
    """What a command took.

    Args:
        peak_bytes: of the sum of proportional set sizes.
        at_peak: the sum of each role then.
    """

    wall_s: float = 0.0
    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    peak_bytes: int = 0
    at_peak: dict[str, int] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)
    workers: list[tuple[float, dict[int, int]]] = field(default_factory=list)  # when, PSS of each

    def cpu_s(self) -> float:
        """Return the processor time of all processes."""
        return sum(process.cpu_s for process in self.processes.values())

    def by_role(self) -> dict[str, float]:
        """Return the processor time of each role, the largest first."""
        sums: dict[str, float] = defaultdict(float)
        for process in self.processes.values():
            sums[process.role] += process.cpu_s
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def measured(
    command: Sequence[str], env: Mapping[str, str], folder: Path, *, memory: bool = False
) -> Measured:
    """Run a command to its end in `folder`."""
    mark = uuid.uuid4().hex
    found, done = Measured(), threading.Event()
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **env, MARK: mark},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = threading.Thread(target=_watch, args=(mark, process.pid, found, done, memory))
    watch.start()
    found.stdout, found.stderr = process.communicate()
    found.wall_s = time.perf_counter() - began
    found.exit_code = process.returncode
    done.set()
    watch.join()
    return found


def _watch(mark: str, driver: int, found: Measured, done: threading.Event, memory: bool) -> None:
    looked = 0.0
    known: dict[int, bool] = {}
    while not done.is_set():
        for pid in _numbers():
            if pid not in known:
                known[pid] = _has(pid, mark)
            if known[pid]:
                _see(pid, driver, found)
        if memory and time.monotonic() - looked > MEMORY_EVERY_S:
            _see_memory(found)
            looked = time.monotonic()
        done.wait(EVERY_S)


def _numbers() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _has(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _see(pid: int, driver: int, found: Measured) -> None:
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        process = found.processes.setdefault(pid, Process(""))
        process.role = _role(words, is_driver=pid == driver) or process.role
        process.cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S


def _see_memory(found: Measured) -> None:
    sums: dict[str, int] = defaultdict(int)
    workers = {}
    for pid, process in found.processes.items():
        process.pss_bytes = _pss(pid)
        process.peak_bytes = max(process.peak_bytes, process.pss_bytes)
        sums[process.role] += process.pss_bytes
        if process.role == "trial" and process.pss_bytes:
            workers[pid] = process.pss_bytes
    found.workers.append((time.time(), workers))
    if (total := sum(sums.values())) > found.peak_bytes:
        found.peak_bytes, found.at_peak = total, dict(sums)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _role(words: str, *, is_driver: bool) -> str:
    """Return what a process is for, by its command."""
    if is_driver:
        return "driver"
    known = {
        "ImplicitFunc": "trial",
        "run_trial": "trial",
        "ray::CurveCache": "curves",
        "ray::IDLE": "idle worker",
        "default_worker.py": "idle worker",
        "gcs_server": "gcs",
        "raylet": "raylet",
        "ray::": "other worker",
    }
    return next((role for part, role in known.items() if part in words), "other")
