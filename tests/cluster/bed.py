"""Several hosts on this machine (testbed/testbed.sh), for tests: started, hurt, and taken down.

    bed.up(3)
    bed.head("h1", "--num-cpus=1")
    bed.worker("h2", "h1", "--num-cpus=1")
    code, output = bed.run("h3", "curvetune", "doctor", "--address", bed.at("h1"))

What a host writes is seen here in `bed.shared` (/mnt/shared there), `bed.home(host)` and
`bed.tmp(host)`. Nothing sleeps for a fixed time (commands.py).
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import IO

from commands import Outcome as Outcome
from commands import Process as Process
from commands import until as until  # for those who use a bed

ROOT = Path(__file__).parents[2]
TOOLS = Path(__file__).parent / "testbed"
BEDS = Path("/var/tmp/curvetune-beds")  # not /tmp or /home, which each host has of its own
PREFIX = os.environ.get("CURVETUNE_BED", "ctbed")  # of the namespaces
NETWORK = os.environ.get("CURVETUNE_BED_NETWORK", "10.74")
SHARED = "/mnt/shared"  # in every host
PORT = 6379
RAY_IS_UP = "Ray runtime started"  # what `ray start` prints
_numbers = count()  # of logs


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

    def python_path(self, *folders: str) -> str:
        """Return a PYTHONPATH of `folders` and of the one that the tests were given."""
        return ":".join(filter(None, [*folders, os.environ.get("PYTHONPATH", "")]))

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

    def autoscaling_head(self, host: str) -> Process:
        """Start a head that has no CPUs and no workers, but an autoscaler.

        What it brings are nodes on the same host (testbed/fake_autoscale.json), two at most. It
        takes one away that was idle for half a minute.
        """
        config = TOOLS / "fake_autoscale.json"
        node = str(json.loads(config.read_text())["provider"]["head_node_id"])
        copy = self.tools / config.name  # the checkout may be below a host's own /tmp
        shutil.copy(config, copy)
        options = ["--num-cpus=0", "--num-gpus=0", f"--autoscaling-config={copy}"]
        env = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": node,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node,
        }
        return self.head(host, *options, env=env)

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
