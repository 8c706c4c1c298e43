r"""Runs a grid without Ray, in slices of time: for a machine with PyTorch, lent for minutes.

It needs PyTorch, numpy, pydantic, pyyaml, pyarrow, pillow and safetensors. The digits and some
methods need scikit-learn as well. `python -m curvetune.offline` has the same options:

    python -m curvetune.offline run cifar10 --seeds 0 --data-dir DATA --workers 8 --minutes 9 \
        --unpack carried/pack --pack carried/pack --commit $(git rev-parse HEAD)

This runs 8 cells at once on the GPU. It stops within 9 minutes, counted from the end of its
imports. The same command goes on with each cell, bit for bit on the same kind of device. What that
takes is in the pack: carried/pack.1ofN and so on. They have at most 56 MiB, in parts of 15 MiB.

Each finished cell becomes a line of results.jsonl in the storage. Any other machine shows them:

    curvetune offline import results.jsonl cifar10 --seeds 0 --storage S
    curvetune report cifar10 --storage S

Exit codes: 0 all cells are done. 2 wrong options or data. 3 some cells failed. 4 the time is up,
and cells are left. 5 the storage or a pack cannot be read or written.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curvetune.errors import INTERRUPTED, SOME_FAILED, ConfigError, CurvetuneError
from curvetune.offline.options import check_run, limit, parser
from curvetune.offline.parts import check_file, check_target, parts
from curvetune.system.redact import redact

if TYPE_CHECKING:
    from curvetune.planning.plan import Plan
    from curvetune.planning.selection import Selection

TIME_IS_UP = INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    What needs PyTorch is imported by the command that needs it: `--help` and a wrong option answer
    at once.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser(__doc__ or "").parse_args(typed)
    chosen.typed = redact(shlex.join(["python", "-m", "curvetune.offline", *typed]))
    try:
        return COMMANDS[chosen.command](chosen)
    except CurvetuneError as error:
        print(redact(f"error: {error}"), file=sys.stderr)
        return error.exit_code


def _run(chosen: argparse.Namespace) -> int:
    check_run(chosen)
    selection = _selection(chosen)
    if chosen.unpack is not None:
        check_file(chosen.unpack, "--unpack ")
    if chosen.pack is not None:
        check_target(chosen.pack, "--pack ")
    device = _device(chosen.device)  # imports PyTorch

    from curvetune.offline.pack import pack
    from curvetune.offline.run import RunOptions, find_images, make_plan, run
    from curvetune.store import open_storage

    started = time.monotonic()
    if chosen.commit:
        from curvetune.system.source_code import COMMIT

        os.environ[COMMIT] = chosen.commit  # worker processes inherit it
    images, space = find_images(selection, chosen.data_dir)
    storage = open_storage(chosen.storage)
    if chosen.unpack is not None:
        _go_on_from(chosen.unpack, storage)
    plan = make_plan(
        space,
        images.digest(chosen.data_dir),
        storage,
        chosen.typed,
        selection=selection,
        data_dir=chosen.data_dir,
    )
    options = RunOptions(
        device=device,
        workers=chosen.workers,
        seconds=60 * chosen.minutes,
        started=started,
        checkpoint_every=chosen.checkpoint_every,
        lines=chosen.lines,
    )
    tally = run(plan, lambda: images.load(chosen.data_dir), options, storage, _tell)
    if chosen.pack is not None:
        _tell(pack(storage, chosen.pack, limit(chosen)))
    return _end(plan, len(tally.done), len(tally.failed))


def _device(wanted: str | None) -> str:
    """Return where cells are run: a GPU if there is one, unless told otherwise.

    Raises:
        ConfigError: a GPU is wanted, and there is none.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: PyTorch finds no GPU here; allowed is cpu; leave --device out, or "
            "mend the driver"
        )
    return wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def _go_on_from(file: Path, storage: Path) -> None:
    """Take what a pack has; a first slice has none, which is said."""
    from curvetune.offline.unpack import unpack

    if parts(file):
        _tell(unpack(file, storage))
    else:
        _tell(f"--unpack {file}: there is no such pack; it starts from what the storage has")


def _import(chosen: argparse.Namespace) -> int:
    from curvetune.offline.run import read_in
    from curvetune.store import open_storage

    selection = _selection(chosen)
    _tell(read_in(selection, chosen.lines, open_storage(chosen.storage), chosen.typed))
    return 0


def _pack(chosen: argparse.Namespace) -> int:
    from curvetune.offline.pack import pack
    from curvetune.store.names import GRIDS

    most, file = limit(chosen), check_target(chosen.file)
    storage = Path(os.path.expanduser(chosen.storage))
    if not (storage / GRIDS).is_dir():
        lacks = "there is no grid in it" if storage.is_dir() else "there is no such folder"
        raise ConfigError(
            f"--storage {chosen.storage}: {lacks}; give one that `offline run` or "
            f"`curvetune grid` has written"
        )
    _tell(pack(storage, file, most))
    return 0


def _unpack(chosen: argparse.Namespace) -> int:
    from curvetune.offline.unpack import unpack
    from curvetune.store import open_storage

    file = check_file(chosen.file)
    _tell(unpack(file, open_storage(chosen.storage)))
    return 0


def _selection(chosen: argparse.Namespace) -> "Selection":
    from curvetune.planning.selection import parse_selection, selected_space

    found = parse_selection(
        chosen.space,
        chosen.methods,
        chosen.seeds,
        chosen.profile,
        chosen.set,
        chosen.plugin,
        chosen.name,
    )
    selected_space(found)  # refuses a bad one before anything is made
    return found


def _end(plan: "Plan", done: int, failed: int) -> int:
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
    print(redact(text), flush=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "import": _import,
    "pack": _pack,
    "unpack": _unpack,
}
