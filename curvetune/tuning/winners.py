"""The space of the winners, which `curvetune grid FILE` runs: their cells are found again there."""

from collections.abc import Sequence

from curvetune.places import Places
from curvetune.planning.again import again, made_of
from curvetune.planning.plan import Plan, cell_json
from curvetune.tuning.contest import Tuning
from curvetune.tuning.scores import Searched


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


def _share(one: Searched) -> str:
    accuracy = one.winner.accuracy
    return "no" if accuracy is None else f"{accuracy:.2f}"
