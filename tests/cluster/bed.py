"""Several hosts on this machine (testbed/testbed.sh), for tests: started, hurt, and taken down.

    bed.up(3)
    bed.head("h1", "--num-cpus=1")
    bed.worker("h2", "h1", "--num-cpus=1")
    code, output = bed.run("h3", "curvetune", "doctor", "--address", bed.at("h1"))

What a host writes is seen here in `bed.shared` (/mnt/shared there), `bed.home(host)` and
`bed.tmp(host)`. Nothing sleeps for a fixed time: `until` waits for a fact, with a limit.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

ROOT = Path(__file__).parents[2]
TOOLS = Path(__file__).parent / "testbed"
BEDS = Path("/var/tmp/curvetune-beds")  # not /tmp or /home, which each host has of its own
PREFIX = os.environ.get("CURVETUNE_BED", "ctbed")  # of the namespaces
NETWORK = os.environ.get("CURVETUNE_BED_NETWORK", "10.74")
SHARED = "/mnt/shared"  # in every host
HOME = "/home/ct"
PORT = 6379
RAY_IS_UP = "Ray runtime started"  # what `ray start` prints
UP_S = 60.0
T = TypeVar("T")
_numbers = count()  # of logs


class Outcome(NamedTuple):
    """How a command ended, and all that it printed."""

    code: int
    output: str


def why_not() -> str | None:
    """Return why there can be no bed here; None if there can be one."""
    if sys.platform != "linux":
        return f"namespaces are Linux's, this is {sys.platform}"
    if os.geteuid() != 0:
        return "hosts are namespaces, which only root makes"
    missing = [tool for tool in ("ip", "nsenter", "unshare", "mount") if not shutil.which(tool)]
    if missing:
        return f"no {', '.join(missing)} here; install iproute2 and util-linux"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
    )
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


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


class Bed:
    """Hosts h1 to h9 with a switch; at most one Bed at a time has a folder of BEDS."""

    def __init__(self, folder: Path, number: int, lock: IO[str]) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.tools = folder / "tools"
        self.hosts: list[str] = []
        self.env: dict[str, dict[str, str]] = {}  # of each host, for all that is run there
        self.venvs: dict[str, Path] = {}  # of each host; else the one of the tests
        self._prefix = folder.name
        self._network = f"{NETWORK}.{number}"
        self._lock = lock
        self._started: list[Process] = []
        for path in (self.shared, self.tools, folder / "log"):
            path.mkdir(parents=True, exist_ok=True)

    def up(self, count: int) -> None:
        """See that hosts h1 to h`count` are there."""
        if not self.hosts:
            self._do("up", str(count))
        for number in range(len(self.hosts) + 1, count + 1):
            if self.hosts:
                self._do("boot", f"h{number}")
        self.hosts = [f"h{number + 1}" for number in range(max(count, len(self.hosts)))]

    def ip(self, host: str) -> str:
        return f"{self._network}.{host.removeprefix('h')}"

    def at(self, host: str) -> str:
        """Return the address of a Ray cluster whose head is on `host`."""
        return f"{self.ip(host)}:{PORT}"

    def home(self, host: str) -> Path:
        """Return the folder that `host` sees as /home/ct."""
        return self.folder / "hosts" / host / "home" / "ct"

    def tmp(self, host: str) -> Path:
        """Return the folder that `host` sees as /tmp."""
        return self.folder / "hosts" / host / "tmp"

    def start(self, host: str, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a command in a host."""
        name = Path(command[0]).name
        log = self.folder / "log" / f"{next(_numbers):04d}-{host}-{name}.txt"
        values = {**self.env.get(host, {}), **(env or {})}
        words = ["env", *(f"{key}={value}" for key, value in values.items())] if values else []
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [str(TOOLS / "testbed.sh"), "sh", host, *words, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._variables(host),
                start_new_session=True,  # a Ctrl-C is for the tests, which then take all down
            )
        self._started.append(Process(popen, log, f"{name} on {host}"))
        return self._started[-1]

    def run(
        self,
        host: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> Outcome:
        """Run a command in a host to its end."""
        return self.start(host, *command, env=env).wait(timeout_s)

    def head(
        self,
        host: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        dashboard: bool = False,
    ) -> Process:
        """Start the head of a Ray cluster, and wait until it is there."""
        shown = f"--include-dashboard={str(dashboard).lower()}"
        return self._ray(host, f"--head --port={PORT} {shown}".split(), options, env)

    def worker(
        self, host: str, head: str, *options: str, env: Mapping[str, str] | None = None
    ) -> Process:
        """Let a host join the cluster of `head`, and wait until it has."""
        return self._ray(host, [f"--address={self.at(head)}"], options, env)

    def crash(self, host: str) -> None:
        """Power off: every process of the host is killed at once."""
        self._do("crash", host)

    def boot(self, host: str) -> None:
        """Power on again: nothing runs, /tmp and /dev/shm are empty, HOME is as it was."""
        self._do("boot", host)

    def cut(self, host: str) -> None:
        """Pull the network cable."""
        self._do("cut", host)

    def mend(self, host: str) -> None:
        """Put the cable back."""
        self._do("mend", host)

    def share(self, host: str, how: str) -> None:
        """Make the shared folder read-only ("ro") in a host, or its own ("off"); "rw", "on"."""
        self._do("share", host, how)

    def skew(self, host: str, seconds: int) -> None:
        """Let the clock of a host run ahead, for all that is started there from now on."""
        shim = self.tools / "skew.so"
        if not shim.exists():
            built = ["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(TOOLS / "skew.c")]
            subprocess.run(built, check=True)
        self.env.setdefault(host, {}).update(LD_PRELOAD=str(shim), SKEW_S=str(seconds))

    def reset(self) -> None:
        """Make all hosts as new: no process, nothing in their folders, all cables in place."""
        for host in self.hosts:
            self.crash(host)
            for folder in (self.home(host), self.folder / "hosts" / host / "own"):
                shutil.rmtree(folder, ignore_errors=True)
        self._reap()
        for path in self.shared.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for host in self.hosts:
            self.boot(host)
            self.mend(host)
        self.env.clear()
        self.venvs.clear()

    def down(self) -> None:
        """End everything and remove all files of it."""
        self._do("down")
        self._reap()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _reap(self) -> None:
        """Wait for what has been killed with its host."""
        while self._started:
            self._started.pop().wait(10.0)

    def _ray(
        self, host: str, words: list[str], options: tuple[str, ...], env: Mapping[str, str] | None
    ) -> Process:
        ray = ["python", "-m", "ray.scripts.scripts", "start", "--block", *words]
        fixed = [f"--node-ip-address={self.ip(host)}", "--object-store-memory=150000000"]
        process = self.start(host, *ray, *fixed, *options, env=env)
        process.says(RAY_IS_UP)
        return process

    def _do(self, *words: str) -> None:
        done = subprocess.run(
            [str(TOOLS / "testbed.sh"), *words],
            env=self._variables(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"testbed.sh {' '.join(words)}: {done.stdout}"

    def _variables(self, host: str = "") -> dict[str, str]:
        binds = {str(ROOT), sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path)}
        return {
            "PATH": os.environ["PATH"],
            "BED": str(self.folder),
            "VENV": str(self.venvs.get(host, sys.prefix)),
            "SHARED": str(self.shared),
            "BINDS": " ".join(sorted(binds)),
            "P": self._prefix,
            "NET": self._network,
        }


@contextlib.contextmanager
def a_bed() -> Iterator[Bed]:
    """Open a bed with a name and a network of its own; it is down when the block ends."""
    BEDS.mkdir(exist_ok=True)
    remove_leftovers()
    bed = next(found for number in range(100) if (found := _claim(number)) is not None)
    try:
        yield bed
    finally:
        bed.down()


def remove_leftovers() -> None:
    """Take down the beds of runs that were killed: those whose lock nobody holds."""
    for folder in BEDS.iterdir():
        number = folder.name.removeprefix(PREFIX)
        if number.isdigit() and (bed := _claim(int(number))) is not None:
            bed.down()


def _claim(number: int) -> Bed | None:
    """Return the bed of this number, or None if it is someone's."""
    folder = BEDS / f"{PREFIX}{number}"
    folder.mkdir(exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    if not (folder / "lock").exists():  # its holder has just taken it down
        lock.close()
        return None
    return Bed(folder, number, lock)
