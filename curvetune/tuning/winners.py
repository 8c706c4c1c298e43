"""The space of the winners, which `curvetune grid FILE` runs: their cells are found again there."""

from collections.abc import Sequence
from pathlib import Path

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, StorageError, printable
from curvetune.places import Places
from curvetune.planning.again import again, made_of
from curvetune.planning.plan import Plan, cell_json
from curvetune.tuning.contest import Tuning
from curvetune.tuning.scores import Searched

ENDINGS = (".yaml", ".yml")


def check_space_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be a space, or is there already.

    Raises:
        ConfigError: it is one of them.
    """
    shown = f"--space {printable(path)}"
    if path.suffix not in ENDINGS or not GRID_NAME.fullmatch(path.stem):
        raise ConfigError(
            f"{shown}: a space is a .yaml file, whose name is letters, digits, '.', '_' and '-': "
            f"--space winners.yaml"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"{shown}: there is no folder {printable(path.parent)}; make it first")
    if path.exists() and not force:
        raise ConfigError(
            f"{shown}: is there already; give another name, or --force, which writes it anew"
        )


def winners_space(
    tuning: Tuning, searched: Sequence[Searched], plan: Plan, places: Places, command: str
) -> str:
    """Return the space of the winners' cells as YAML, with what was found as its story.

    Args:
        plan: that tested them.
    """
    wanted = {
        cell.cell_id(tuning.digest)
        for one in searched
        for cell in tuning.test(one.tuned, one.winner.options)
    }
    record = {
        "name": f"{tuning.space.name}-winners",
        "cells": [cell_json(cell) for cell in plan.cells if cell.cell_id in wanted],
        "command": command,
        "data_digest": tuning.digest,
        "made": made_of(tuning.space, places.data_dir, places.on_bad),
    }
    story = "".join(
        f"# {one.tuned.method}: {one.tuned.told(one.winner.options)} "
        f"({_share(one)} % of the validation set, trial {one.best} of {len(one.trials)})\n"
        for one in searched
    )
    return story + again(record)


def write_space(path: Path, text: str) -> None:
    """Write the space.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--space {printable(path)}: cannot be written ({error.strerror}); give another place, "
            f"and run the same command again, which runs no cell twice"
        ) from None


def _share(one: Searched) -> str:
    accuracy = one.winner.accuracy
    return "no" if accuracy is None else f"{accuracy:.2f}"
