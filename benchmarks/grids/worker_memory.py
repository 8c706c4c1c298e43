"""How a worker's memory grows from trial to trial.

Claim: after 20 trials a worker of Ray holds at most 1.1 times what it held at the end of its first.

    python -m benchmarks.grids.worker_memory [--profile smoke] [digits …]

The grid runs with one worker, which both cores serve. A proportional set size is that of the worker
at most 1.5 s before or after a trial ended. Pages that other processes share count in part.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.grids.processes import Measured, measured
from benchmarks.timing import append

HERE = Path(__file__).parents[2]
LATER = 20  # trials


def run(words: list[str]) -> tuple[Measured, list[float]]:
    """Run a grid in a storage that is thrown away; return when its cells were done, too."""
    with tempfile.TemporaryDirectory() as folder:
        python = HERE / ".venv/bin/python"
        start = "import sys; sys.argv[0] = 'curvetune'; from curvetune.cli import main; main()"
        storage = Path(folder) / "storage"
        command = [str(python), "-c", start, "grid", *words, "--storage", str(storage)]
        command += ["--cpus-per-trial", str(os.cpu_count())]
        done = measured(command, {"PYTHONPATH": str(HERE)}, Path(folder), memory=True)
        if done.exit_code:
            raise SystemExit(f"the grid ended with {done.exit_code}:\n{done.stderr}")
        ended = sorted(path.stat().st_mtime for path in storage.glob("cells/*/DONE.json"))
    return done, ended


def sizes(done: Measured, ended: list[float]) -> list[int]:
    """Return what the worker held, in bytes, near the end of each trial.

    Raises:
        SystemExit: there was more than one worker, so nobody knows whose trial was whose.
    """
    pids = {pid for _, workers in done.workers for pid in workers}
    if len(pids) != 1:
        raise SystemExit(f"{len(pids)} workers ran trials, which is not one")
    seen = [(when, sum(workers.values())) for when, workers in done.workers if workers]
    return [min(seen, key=lambda one: abs(one[0] - end))[1] for end in ended]


def main() -> None:
    """Run the grid, print the sizes, and append a row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--dry", action="store_true", help="append no row to the results")
    parser.add_argument("words", nargs="*", default=["digits"], help="of the command")
    options = parser.parse_args()
    found = sizes(*run([*options.words, "--profile", options.profile]))
    print("GB after each trial:", ", ".join(f"{size / 1e9:.2f}" for size in found))
    row = {
        "benchmark": "worker_memory",
        "case": f"{' '.join(options.words)}, {options.profile}",
        "arenas": os.environ.get("MALLOC_ARENA_MAX", "as grid sets it"),
        "trials": len(found),
        "first_gb": f"{found[0] / 1e9:.3f}",
        "after_20_gb": f"{found[LATER - 1] / 1e9:.3f}",
        "last_gb": f"{found[-1] / 1e9:.3f}",
        "ratio_after_20": f"{found[LATER - 1] / found[0]:.3f}",
        "n": 1,
    }
    print(row)
    if not options.dry:
        append([row])


if __name__ == "__main__":
    main()
