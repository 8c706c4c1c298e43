"""The first grid of README, against an earlier commit: wall and processor time, memory, table.

Claim: `curvetune grid digits` takes at most 0.6 of the wall time of commit aa53525 and 0.7 of its
memory, with the same table in every digit.

    git worktree add ../base aa53525        (with an environment of its own in ../base/.venv)
    python -m benchmarks.grids.first_grid --base ../base --pairs 3

Both run in turn, each in a storage of its own. Processor time is that of the command and of all
processes that it starts, Ray's included: on a machine that others use, it says more than the clock.
Memory is the largest sum of proportional set sizes.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.grids.processes import Measured, measured
from benchmarks.timing import append

HERE = Path(__file__).parents[2]
METHODS = 3  # in the first table


def run(checkout: Path, words: list[str], *, memory: bool) -> Measured:
    """Run the grid from a checkout, in a storage that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        python = checkout / ".venv/bin/python"
        start = "import sys; sys.argv[0] = 'curvetune'; from curvetune.cli import main; main()"
        command = [str(python), "-c", start, "grid", *words, "--storage", f"{folder}/storage"]
        done = measured(command, {"PYTHONPATH": str(checkout)}, Path(folder), memory=memory)
    if done.exit_code:
        raise SystemExit(f"{checkout} ended with {done.exit_code}:\n{done.stderr}")
    return done


def is_of_readme(done: Measured) -> bool:
    """Say whether the first table is that of README, in every digit."""
    readme = (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    lines = [line.rstrip() for line in done.stdout.splitlines() if "cells done" in line]
    rows = [line.rstrip() for line in done.stdout.splitlines() if line.endswith("12/12")]
    return bool(lines) and len(rows) == METHODS and all(line in readme for line in lines + rows)


def told(name: str, done: Measured) -> None:
    roles = ", ".join(f"{role} {cpu:.1f}" for role, cpu in done.by_role().items())
    print(f"{name}: {done.wall_s:.1f} s, processor {done.cpu_s():.1f} s ({roles})")
    if done.peak_bytes:
        peak = ", ".join(f"{role} {size / 1e9:.2f}" for role, size in done.at_peak.items() if size)
        print(f"  peak {done.peak_bytes / 1e9:.2f} GB ({peak})", flush=True)


def main() -> None:
    """Measure in pairs, print and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, help="a checkout of the earlier commit")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument(
        "--memory", action="store_true", help="read memory, which takes time itself"
    )
    parser.add_argument("--dry", action="store_true", help="append no rows to the results")
    parser.add_argument("--only", action="store_true", help="run only this commit, once")
    parser.add_argument("words", nargs="*", default=["digits"], help="of the command")
    options = parser.parse_args()
    if options.only:
        done = run(HERE, options.words, memory=options.memory)
        told("now", done)
        print(done.stdout)
        return
    rows = []
    for pair in range(options.pairs):
        before = run(options.base, options.words, memory=options.memory)
        told("before", before)
        after = run(HERE, options.words, memory=options.memory)
        told("now", after)
        if options.words == ["digits"] and not is_of_readme(after):
            raise SystemExit(f"the table is not that of README.md:\n{after.stdout}")
        rows.append(
            {
                "benchmark": "first_grid",
                "case": " ".join(options.words),
                "pair": pair,
                "wall_s_before": f"{before.wall_s:.1f}",
                "wall_s": f"{after.wall_s:.1f}",
                "wall_ratio": f"{after.wall_s / before.wall_s:.3f}",
                "processor_s_before": f"{before.cpu_s():.1f}",
                "processor_s": f"{after.cpu_s():.1f}",
                "processor_ratio": f"{after.cpu_s() / before.cpu_s():.3f}",
                "peak_gb_before": f"{before.peak_bytes / 1e9:.2f}" if options.memory else "",
                "peak_gb": f"{after.peak_bytes / 1e9:.2f}" if options.memory else "",
            }
        )
    for name in ("wall_ratio", "processor_ratio"):
        found = [float(str(row[name])) for row in rows]
        print(f"{name}: median {statistics.median(found):.3f} of {len(found)}: {found}")
    if not options.dry:
        append(rows)


if __name__ == "__main__":
    main()
