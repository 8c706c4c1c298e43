"""The options of `curvetune offline`, and what can be told of them before anything is done."""

import argparse
import os
from pathlib import Path

from curvetune.errors import ConfigError
from curvetune.offline.parts import LIMIT, MIB

MOST_MIB = 1e9
HELP = {
    "run": "run cells of a space until a time",
    "import": "make a grid of the lines of results",
    "pack": "write what another machine needs to go on, into small files",
    "unpack": "put a pack into a storage; of two runs, the further one stays",
}


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options of the four commands; `command` of what they parse is its name."""
    top = argparse.ArgumentParser(
        prog="curvetune offline",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar=" | ".join(HELP), dest="command")
    command = {name: commands.add_parser(name, help=text) for name, text in HELP.items()}
    _add_run(command["run"])
    command["import"].add_argument("lines", type=Path, help="a results.jsonl")
    _add_selection(command["import"])
    for name in ("pack", "unpack"):
        command[name].add_argument("file", type=Path, help="FILE.1ofN, FILE.2ofN and so on")
        _add_storage(command[name])
    _add_limit(command["pack"])
    return top


def check_run(chosen: argparse.Namespace) -> None:
    """Check the numbers of `run`; a slice of borrowed time must not end with a wrong option.

    Raises:
        ConfigError: one is out of its range.
    """
    if chosen.workers < 1 or chosen.checkpoint_every < 1 or not chosen.minutes >= 0:
        raise ConfigError(
            f"--workers {chosen.workers}, --checkpoint-every {chosen.checkpoint_every}, --minutes "
            f"{chosen.minutes:g}: the first two are at least 1, the third at least 0"
        )
    limit(chosen)


def limit(chosen: argparse.Namespace) -> int:
    """Return the most bytes of a pack.

    Raises:
        ConfigError: they are out of range.
    """
    if not 0 < chosen.pack_limit < MOST_MIB:
        raise ConfigError(
            f"--pack-limit {chosen.pack_limit:g}: allowed is more than 0 and less than "
            f"{MOST_MIB:g}, in MiB; leave it out for {LIMIT // MIB}"
        )
    return int(chosen.pack_limit * MIB)


def _add_run(command: argparse.ArgumentParser) -> None:
    _add_selection(command)
    add = command.add_argument
    images = os.environ.get("CURVETUNE_DATA_DIR")
    add("--data-dir", type=Path, default=images, help="folder with the images")
    add("--lines", type=Path, help="file of the results; else results.jsonl in the storage")
    add("--device", choices=("cuda", "cpu"), help="where cells train; a GPU if there is one")
    add("--workers", type=int, default=1, help="cells at once; on a CPU each has one thread")
    add("--minutes", type=float, default=float("inf"), help="time limit of the whole command")
    add("--checkpoint-every", type=int, default=20, help="epochs between checkpoints")
    add("--commit", help="commit of this code, where git cannot tell")
    add("--unpack", type=Path, metavar="FILE", help="go on from a pack, if there is one")
    add("--pack", type=Path, metavar="FILE", help="write a pack at the end")
    _add_limit(command)


def _add_selection(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("space", help="a built-in search space or a .yaml file")
    add("--methods", default="", help="instead of the space's own: A,B")
    add("--seeds", default="", help="instead of the space's own: 0,1 or 0-4")
    add("--profile", default="release", help="release, paper, fast or smoke")
    add("--name", default="", help="what the grid is called; else as the space")
    add("--plugin", action="append", default=[], metavar="FILE.py|MODULE", help="of your own")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="fix an option; can be given again",
    )
    _add_storage(command)


def _add_storage(command: argparse.ArgumentParser) -> None:
    storage = os.environ.get("CURVETUNE_STORAGE", "curvetune-results")
    command.add_argument("--storage", default=storage, help="folder of the results")


def _add_limit(command: argparse.ArgumentParser) -> None:
    text = "most MiB of all parts of a pack together"
    command.add_argument("--pack-limit", type=float, default=LIMIT / MIB, help=text)
