"""What a grid's record says of its command. It imports little: every look at a grid asks."""

import shlex
from collections.abc import Mapping
from typing import Any

from curvetune.config.profiles import PROFILES, RELEASE


def profile_of(grid: Mapping[str, Any]) -> str:
    """Return the profile of a grid's newest command; of an older record, what it was typed with."""
    made = grid.get("made")
    found = made.get("profile") if isinstance(made, Mapping) else None
    found = found or typed(grid, "--profile") or RELEASE
    return found if found in PROFILES else RELEASE


def typed(grid: Mapping[str, Any], option: str) -> str | None:
    """Return the value of an option in the recorded command, which older versions keep alone."""
    try:
        words = shlex.split(str(grid.get("command", "")))
    except ValueError:
        return None
    for k, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option:
            return words[k + 1] if k + 1 < len(words) else None
    return None
