r"""Runs a grid without Ray, in slices of time: for a machine with PyTorch, lent for minutes.

Needed are PyTorch, numpy, pydantic, pyyaml, pyarrow, pillow and safetensors, and scikit-learn for
the digits. The same options follow `curvetune offline` and `python -m curvetune.offline`:

    python -m curvetune.offline run cifar10 --seeds 0 --data-dir DATA --workers 8 --minutes 9 \\
        --unpack carried/pack --pack carried/pack --commit $(git rev-parse HEAD)

runs 8 cells at once on the GPU and stops by itself within 9 minutes of the end of its imports. No
cell is lost: the same command resumes each, bit for bit on the same kind of device. What that takes
is in carried/pack.1ofN and so on, at most 56 MiB in parts of 15 MiB (pack.py).

Each finished cell is a line of results.jsonl in the storage, with all that it is worth keeping. On
any other machine

    curvetune offline import results.jsonl cifar10 --seeds 0 --storage S
    curvetune report cifar10 --storage S

shows them. Exit codes: 0 all cells are done, 2 wrong options or data, 3 some failed, 4 the time is
up and cells are left, 5 the storage or a pack cannot be read or written.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from curvetune.errors import INTERRUPTED, SOME_FAILED, ConfigError, CurvetuneError
from curvetune.offline.pack import LIMIT, MIB, pack
from curvetune.offline.unpack import parts, unpack
from curvetune.planning.plan import Plan
from curvetune.planning.selection import Selection, parse_selection, selected_space
from curvetune.store import open_storage
from curvetune.system.source_code import COMMIT

TIME_IS_UP = INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    chosen = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(chosen.run(chosen))
    except CurvetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def parser() -> argparse.ArgumentParser:
    """Return the options of the four commands."""
    top = argparse.ArgumentParser(
        prog="curvetune offline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="run | import | pack | unpack")
    run_ = commands.add_parser("run", help="run cells of a space until a time")
    _add_selection(run_)
    add = run_.add_argument
    add("--data-dir", type=Path, default=os.environ.get("CURVETUNE_DATA_DIR"))
    add("--lines", type=Path, help="file of the results; else results.jsonl in the storage")
    add("--device", choices=("cuda", "cpu"), help="a GPU if there is one")
    add("--workers", type=int, default=1, help="cells at once; on a CPU each has one thread")
    add("--minutes", type=float, default=float("inf"), help="time limit of the whole command")
    add("--checkpoint-every", type=int, default=20, help="epochs, for a process that is killed")
    add("--commit", help="of this code, where no git can tell it")
    add("--unpack", type=Path, metavar="FILE", help="go on from a pack, if there is one")
    add("--pack", type=Path, metavar="FILE", help="write a pack at the end")
    add("--pack-limit", type=float, default=LIMIT / MIB, help="most MiB of all its parts together")
    run_.set_defaults(run=_run)
    import_ = commands.add_parser("import", help="make lines of results a grid of a storage")
    import_.add_argument("lines", type=Path, help="a results.jsonl")
    _add_selection(import_)
    import_.set_defaults(run=_import)
    for name, run, what in (
        ("pack", _pack, "write what a storage needs to go on elsewhere into small files"),
        ("unpack", _unpack, "put a pack into a storage; who has come further wins"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("file", type=Path, help="FILE.1ofN, FILE.2ofN and so on")
        _add_storage(command)
        if name == "pack":
            command.add_argument("--pack-limit", type=float, default=LIMIT / MIB, help="MiB")
        command.set_defaults(run=run)
    return top


def _add_selection(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("space", help="a built-in search space or a .yaml file")
    add("--methods", default="", help="instead of the space's own: A,B")
    add("--seeds", default="", help="instead of the space's own: 0,1 or 0-4")
    add("--profile", default="release")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="fix an option")
    _add_storage(command)


def _add_storage(command: argparse.ArgumentParser) -> None:
    storage = os.environ.get("CURVETUNE_STORAGE", "curvetune-results")
    command.add_argument("--storage", default=storage)


def _selection(chosen: argparse.Namespace) -> Selection:
    return parse_selection(chosen.space, chosen.methods, chosen.seeds, chosen.profile, chosen.set)


def _run(chosen: argparse.Namespace) -> int:
    import torch

    from curvetune import data
    from curvetune.offline.run import RunOptions, make_plan, run

    started = time.monotonic()
    if chosen.workers < 1 or chosen.checkpoint_every < 1 or not chosen.minutes >= 0:
        raise ConfigError(
            f"--workers {chosen.workers}, --checkpoint-every {chosen.checkpoint_every}, --minutes "
            f"{chosen.minutes:g}: the first two are at least 1, the third at least 0"
        )
    if chosen.commit:
        os.environ[COMMIT] = chosen.commit  # worker processes inherit it
    selection = _selection(chosen)
    space = selected_space(selection)
    storage = open_storage(chosen.storage)
    if chosen.unpack is not None and parts(chosen.unpack):
        _tell(unpack(chosen.unpack, storage))
    digest = data.digest(space.cells[0].data.name, chosen.data_dir)
    plan = make_plan(selection, digest, storage)
    options = RunOptions(
        device=chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        workers=chosen.workers,
        seconds=60 * chosen.minutes,
        started=started,
        checkpoint_every=chosen.checkpoint_every,
        data_dir=chosen.data_dir,
        lines=chosen.lines,
    )
    tally = run(plan, options, storage, _tell)
    if chosen.pack is not None:
        _tell(pack(storage, chosen.pack, _limit(chosen)))
    return _end(plan, len(tally.done), len(tally.failed))


def _import(chosen: argparse.Namespace) -> int:
    from curvetune.offline.run import read_in

    selection = _selection(chosen)
    _tell(read_in(selection, chosen.lines, open_storage(chosen.storage)))
    return 0


def _pack(chosen: argparse.Namespace) -> int:
    storage = Path(chosen.storage)
    if not storage.is_dir():
        raise ConfigError(
            f"--storage {storage}: there is no such folder; give one that `offline run` or "
            f"`curvetune grid` has written"
        )
    _tell(pack(storage, chosen.file, _limit(chosen)))
    return 0


def _unpack(chosen: argparse.Namespace) -> int:
    _tell(unpack(chosen.file, open_storage(chosen.storage)))
    return 0


def _limit(chosen: argparse.Namespace) -> int:
    if not 0 < chosen.pack_limit < 1e9:
        raise ConfigError(f"--pack-limit {chosen.pack_limit:g}: allowed is more than 0, in MiB")
    return int(chosen.pack_limit * MIB)


def _end(plan: Plan, done: int, failed: int) -> int:
    """Say how many cells are left; return the exit code for it."""
    left = len(plan.left) - done
    _tell(
        f"{plan.name}: {len(plan.cells) - left} of {len(plan.cells)} cells are done, "
        f"{done} of them now; {failed} failed"
        + ("; run the same command again to go on" if left else "")
    )
    if left > failed:
        return TIME_IS_UP
    return SOME_FAILED if left else 0


def _tell(text: str) -> None:
    print(text, flush=True)
