"""What every table, page and figure of a grid says of the profile that it was run with.

A result of the profile `release` says nothing. One of another is not what the released code does,
and a smoke result is no result at all; so its stamp stands wherever its numbers do.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from curvetune.config import CellConfig, read_config
from curvetune.config.profiles import RELEASE, SMOKE_EPOCHS, SMOKE_SAMPLES
from curvetune.errors import printable
from curvetune.planning.recorded import profile_of

MEANT = {
    "smoke": f"at most {SMOKE_EPOCHS} epochs and {SMOKE_SAMPLES:,} samples, which shows that it "
    f"runs and not which method is better",
    "fast": "a shorter probe, half the allocating stage, rarer updates of weights, and 16 bits",
    "paper": "details as the paper's text has them, not as its code",
    RELEASE: "details as the paper's released code has them",
}
LAST = 10  # epochs of the mean that is called last10
SHOWN_KEYS = 3  # in which another grid of the same name differs


def profiles_of(grid: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the profiles of a grid's commands, from its record."""
    names = tuple(name for name in grid.get("profiles", ()) if name in MEANT)
    return names or (profile_of(grid),)


def stamp(profiles: Sequence[str]) -> str:
    """Return what stands beside the name of a grid: "profile smoke"; nothing of a release."""
    if {*profiles} <= {RELEASE}:
        return ""
    return f"profile{'s' * (len(profiles) > 1)} {' and '.join(profiles)}"


def stamp_notes(profiles: Sequence[str]) -> list[str]:
    """Return what the stamp means, a line for each profile; nothing of a release."""
    if not stamp(profiles):
        return []
    return [f"profile {name}: {MEANT[name]}" for name in profiles]


def other_grids(grid: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what other grids there are under the name of a grid, a line each, from its record."""
    return tuple(_other(one) for one in grid.get("others", ()))


def _other(one: Mapping[str, Any]) -> str:
    keys = [printable(key, 100) for key in one.get("differs") or ()]
    more = " and more" * (len(keys) > SHOWN_KEYS)
    name = printable(one.get("grid"), 200)
    return (
        f"{name} is another grid under this name, of {printable(one.get('cells'))} cells with "
        f"other {', '.join(keys[:SHOWN_KEYS])}{more}; it is not in here: `curvetune report {name}`"
    )


def mean_of_last(configs: Iterable[Mapping[str, Any]]) -> str:
    """Return what the mean of the last epochs is a mean of: "3", "10", or "3 to 10" if they differ.

    Args:
        configs: of cells.
    """
    alike = {json.dumps([one["allocate"], one["method"]], sort_keys=True): one for one in configs}
    found = sorted({min(LAST, _final_epochs(config)) for config in alike.values()})
    if not found:
        return str(LAST)
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _final_epochs(config: Mapping[str, Any]) -> int:
    """Return how many epochs the final training of a cell has, as its method has it."""
    try:
        sections = {key: config[key] for key in CellConfig.model_fields if key in config}
        return read_config(sections).final_recipe.epochs
    except ValidationError:  # of another version of curvetune
        return int(config["allocate"]["epochs"])
