"""The command line without its imports, most of its work: forked from a process that has them."""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# Not Ray: forks of a process that has it draw the same "random" ids, and one of them dies of it.
CONTEXT.set_forkserver_preload(
    [
        "torch",
        "curvetune.cli.run",
        "curvetune.tracking.mlflow",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.db.utils",
        "matplotlib.backends.backend_agg",
    ]
)


class Forked:
    """`curvetune` in a process group of its own; as much of `Popen` as the tests use."""

    def __init__(self, arguments: Sequence[str], output: Path) -> None:
        """Start it; `output` is a file that will have what it prints."""
        self._output = output
        self._process = CONTEXT.Process(target=_run, args=(list(arguments), output))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return `returncode`."""
        return self.returncode

    def communicate(self, timeout: float) -> str:
        """Wait for the end; return what was printed."""
        self._process.join(timeout)
        assert self.returncode is not None, f"still running after {timeout:g} s"
        return self._output.read_text(encoding="utf-8")


def _run(arguments: list[str], output: Path) -> None:
    """Be the command line, from its first line to its exit functions."""
    os.setsid()
    os.environ["OMP_NUM_THREADS"] = "1"
    file = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from curvetune.cli import main

    sys.argv = ["curvetune", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
