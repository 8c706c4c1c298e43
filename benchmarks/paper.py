r"""Runs cells of a search space with the training core alone, in slices of a given time.

For a machine that has PyTorch and is lent for minutes: no Ray, no MLflow, nothing but PyTorch,
numpy, pydantic, pyyaml, pyarrow, pillow and safetensors (and scikit-learn for the digits, and for
methods that estimate the noise rate).

    PYTHONPATH=. python benchmarks/paper.py cifar10 --seeds 0 --data-dir DATA --workers 8 \
        --minutes 9 --unpack carried/pack --pack carried/pack --commit $(git rev-parse HEAD)

runs 8 cells at once on the GPU and stops by itself within 9 minutes of the end of its imports: no
cell is lost, each is gone on with by the same command, bit for bit on the same kind of device. What
it takes to go on elsewhere is in carried/pack.1ofN and so on: at most 56 MiB in parts of 15 MiB.
packing.py says what is left out: the classifiers of finished cells, above all. Curves go as they
are; only if they do not fit are the largest rounded to 16 bits, and then the results say so.

The results are the lines of <storage>/paper.jsonl, one for each finished cell, with all that its
DONE.json and config.json hold: three accuracies, that of each class, seconds of each stage and how
many cells shared the device meanwhile, device, versions, commit. A machine without git is told the
commit with --commit. On any other machine

    python benchmarks/paper.py cifar10 --seeds 0 --import paper.jsonl --storage S
    curvetune report cifar10 --storage S

shows them. Exit codes: 0 all cells are done, 2 wrong options or data, 3 some failed, 4 the time is
up and cells are left, 5 the storage or a pack cannot be read or written.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from packing import LIMIT, MIB, pack
from slices import Tally, run_slice
from unpacking import parts, unpack
from workers import Slice

from curvetune import data
from curvetune.errors import ConfigError, CurvetuneError
from curvetune.report.labels import method_labels
from curvetune.source_code import COMMIT
from curvetune.store import CellStore, CurveStore, open_storage
from curvetune.store.lines import add_lines, import_lines, read_lines, result_line
from curvetune.tune.plan import Plan, PlannedCell, build_plan, cell_json
from curvetune.tune.selection import Selection, parse_selection, selected_space

SOME_FAILED, TIME_IS_UP = 3, 4
RESERVE_S = 20.0  # of a limited time is for what comes after the cells, and for a late epoch
LEAST_SHARE = 0.1  # or this share of it, if that is less


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("space", nargs="?", default="cifar10", help="a built-in search space or a .yaml file")
    add("--methods", default="", help="instead of the space's own: A,B")
    add("--seeds", default="", help="instead of the space's own: 0,1 or 0-4")
    add("--profile", default="release")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="fix an option")
    add("--data-dir", type=Path, default=os.environ.get("CURVETUNE_DATA_DIR"))
    add("--storage", default=os.environ.get("CURVETUNE_STORAGE", "curvetune-results"))
    add("--lines", type=Path, help="file of the results; else paper.jsonl in the storage")
    add("--device", choices=("cuda", "cpu"), help="a GPU if there is one")
    add("--workers", type=int, default=1, help="cells at once; on a CPU each has one thread")
    add("--minutes", type=float, default=float("inf"), help="time limit of the whole command")
    add("--checkpoint-every", type=int, default=20, help="epochs, for a process that is killed")
    add("--commit", help="of this code, where no git can tell it")
    add("--unpack", type=Path, metavar="FILE", help="go on from a pack, if there is one")
    add("--pack", type=Path, metavar="FILE", help="write a pack at the end")
    add("--pack-limit", type=float, default=LIMIT / MIB, help="most MiB of all its parts together")
    add("--import", type=Path, dest="lines_in", metavar="LINES", help="only: read results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    chosen = options(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(chosen, time.monotonic())
    except CurvetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(chosen: argparse.Namespace, started: float) -> int:
    if chosen.workers < 1 or chosen.checkpoint_every < 1 or not chosen.minutes >= 0:
        raise ConfigError(
            f"--workers {chosen.workers}, --checkpoint-every {chosen.checkpoint_every}, --minutes "
            f"{chosen.minutes:g}: the first two are at least 1, the third at least 0"
        )
    if chosen.commit:
        os.environ[COMMIT] = chosen.commit  # worker processes inherit it
    selection = parse_selection(
        chosen.space, chosen.methods, chosen.seeds, chosen.profile, chosen.set
    )
    storage = open_storage(chosen.storage)
    if chosen.lines_in is not None:
        return read_in(selection, chosen.lines_in, storage)
    if chosen.unpack is not None and parts(chosen.unpack):
        print(unpack(chosen.unpack, storage), flush=True)
    digest = data.digest(selected_space(selection).cells[0].data.name, chosen.data_dir)
    plan = make_plan(selection, digest, storage)
    tally = run(plan, chosen, storage, started)
    if chosen.pack is not None:
        print(pack(storage, chosen.pack, int(chosen.pack_limit * MIB)), flush=True)
    return _exit_code(plan, tally)


def make_plan(selection: Selection, digest: str, storage: Path) -> Plan:
    """Return what is to be run, and record it as a grid of the storage."""
    cells, curves = CellStore(storage), CurveStore(storage)
    plan = build_plan(
        selected_space(selection),
        digest,
        is_done=lambda cell_id: cells.result(cell_id) is not None,
        has_probe=curves.has,
    )
    entries = [cell_json(cell) for cell in plan.cells]
    command = shlex.join(["python", "benchmarks/paper.py", *sys.argv[1:]])
    cells.write_grid(plan.name, {"cells": entries, "command": command, "data_digest": digest})
    return plan


def read_in(selection: Selection, file: Path, storage: Path) -> int:
    """Make the lines of `file` results of the storage, and a grid of what is selected."""
    lines = read_lines(file)
    digests = sorted({line["data_digest"] for line in lines})
    if len(digests) != 1:
        raise ConfigError(
            f"--import {file}: its lines are about {len(digests)} sets of data ({digests}); "
            f"allowed is one: put those of each into a file and a storage of its own"
        )
    new = import_lines(CellStore(storage), lines)
    plan = make_plan(selection, digests[0], storage)
    counts = plan.counts()
    print(
        f"{new} of {len(lines)} results are new; {plan.name}: {counts['cells_done']} of "
        f"{counts['cells_total']} cells are done: curvetune report {plan.name} --storage {storage}"
    )
    return 0


def run(plan: Plan, chosen: argparse.Namespace, storage: Path, started: float) -> Tally:
    """Run what is left of the plan; every finished cell is a line at once."""
    store, file = CellStore(storage), chosen.lines or storage / "paper.jsonl"
    finished = [result_line(store, cell.cell_id) for cell in plan.cells if cell.done]
    add_lines(file, [line for line in finished if line is not None])
    done = len(finished)
    labels = method_labels([cell.config.model_dump(mode="json") for cell in plan.cells])
    names = dict(zip((cell.cell_id for cell in plan.cells), labels, strict=True))

    def say(what: str, cell: PlannedCell) -> None:
        nonlocal done
        if what == "done" and (line := result_line(store, cell.cell_id)) is not None:
            add_lines(file, [line])
            done += 1
            parts = ", ".join(f"{stage} {s:.0f} s" for stage, s in line["seconds"].items() if s)
            what = f"done {done}/{len(plan.cells)}: {line['accuracy']:.2f} % in {parts}"
        print(
            f"{time.monotonic() - started:6.0f} s  {names[cell.cell_id]}, {_setting(cell)}: {what}",
            flush=True,
        )

    seconds = 60 * chosen.minutes
    reserve = min(RESERVE_S, LEAST_SHARE * seconds)
    if not plan.left or time.monotonic() - started >= seconds - reserve:
        return Tally()
    slice_ = Slice(
        storage=storage,
        digest=plan.digest,
        device=chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        workers=chosen.workers,
        checkpoint_every=chosen.checkpoint_every,
        started=started,
        deadline=started + seconds - reserve,
        end=started + seconds - reserve / 2,
    )
    name = plan.cells[0].config.data.name
    return run_slice(plan, lambda: data.load(name, chosen.data_dir), slice_, say)


def _setting(cell: PlannedCell) -> str:
    bias = cell.config.bias
    return (
        f"imbalance {bias.imbalance:g}, {bias.noise} {bias.noise_rate:g}, "
        f"seed {cell.config.seed} ({cell.cell_id})"
    )


def _exit_code(plan: Plan, tally: Tally) -> int:
    """Say how many cells are left; return the exit code for it."""
    left = len(plan.left) - len(tally.done)
    print(
        f"{plan.name}: {len(plan.cells) - left} of {len(plan.cells)} cells are done, "
        f"{len(tally.done)} of them now; {len(tally.failed)} failed"
        + ("; run the same command again to go on" if left else "")
    )
    if left > len(tally.failed):
        return TIME_IS_UP
    return SOME_FAILED if left else 0


if __name__ == "__main__":
    sys.exit(main())
