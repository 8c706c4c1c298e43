"""The record of a grid as it may leave this machine: without the places of its owner.

Reviews are blind, and a path of a home folder has a name in it.
"""

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from curvetune.system.redact import redact

KEPT = ("schema_version", "cells", "data_digest", "profiles")
SHELL = ("=", "@")  # before a path in a word: --storage=/a/b


def portable(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the record of a grid with what decides and tells its numbers, and no more.

    Args:
        name: what it is called elsewhere.
    """
    found = {key: record[key] for key in KEPT if key in record}
    made = record.get("made")
    return {
        **found,
        "name": name,
        "command": without_places(str(record.get("command", ""))),
        **({"made": _made(made)} if isinstance(made, Mapping) else {}),
    }


def without_places(command: str) -> str:
    """Return a command with the last name of each absolute path in place of the path."""
    try:
        words = shlex.split(redact(command))
    except ValueError:
        return ""
    return shlex.join(map(_without_place, words))


def _made(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a grid was made of, without paths: an option of one keeps its last name."""
    found = {key: value for key, value in made.items() if key != "data_dir"}
    options = made.get("options")
    if isinstance(options, Mapping):
        found["options"] = {
            **options,
            "space": _without_place(str(options.get("space", ""))),
            "plugins": [_without_place(str(one)) for one in options.get("plugins", ())],
        }
    return found


def _without_place(word: str) -> str:
    for mark in ("", *SHELL):
        before, found, path = word.partition(mark) if mark else ("", "", word)
        if path.startswith(("/", "~", "file://")) and (found or not mark):
            return f"{before}{found}{PurePath(path).name or '.'}"
    return word
