"""A grid as it is sent: by which id, what runs on the head, and what is said of it.

The id is made of what decides the numbers of the grid and where they are kept, so that the same
command finds what it started before. Ray refuses an id that was used, and writes to the old log
where it was deleted; so what has ended is followed by another attempt, with a number.
"""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from curvetune.config.fingerprint import fingerprint
from curvetune.errors import ConfigError, printable
from curvetune.jobs.names import CODE, COMMAND, DIGEST, GRID, STORAGE, SUBMITTED
from curvetune.jobs.upload import Upload, needed_plugins, pack
from curvetune.places import parse_on_bad
from curvetune.planning.selection import Selection, selected_space
from curvetune.planning.space import Space, find_space
from curvetune.system.redact import NAMED_SECRET, NO_SECRET, command, redact
from curvetune.system.source_code import COMMIT, this_code

STOP_WAIT_S = 300  # for the epochs that run when a job is stopped; Ray itself gives 3 s
VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = re.compile(r"PYTHONPATH|CURVETUNE_(COMMIT|SUBMITTED)|RAY_.*")
HOOK = "--notify"


@dataclass(frozen=True)
class Where:
    """Where the cluster's nodes find images, and keep results.

    Args:
        storage: a folder that all nodes share, or an address such as s3://bucket/prefix.
        on_bad: what is done about images that cannot be used.
    """

    storage: str
    data_dir: str | None
    on_bad: str

    def checked(self) -> "Where":
        """Return it in one spelling.

        Raises:
            ConfigError: one is not a place of the cluster's.
        """
        shared = "a folder that all nodes of the cluster share"
        storage = _place("--storage", self.storage, shared)
        images = None if self.data_dir is None else _place("--data-dir", self.data_dir, "a folder")
        return Where(storage, images, parse_on_bad(self.on_bad))


@dataclass(frozen=True)
class Order:
    """A grid that is ready to be sent.

    Args:
        first: the id of its first attempt.
        entrypoint: the command that the head runs.
        environment: Ray's runtime environment of the job.
        about: what the cluster keeps about it, for `status`.
    """

    first: str
    entrypoint: str
    environment: dict[str, Any]
    about: dict[str, str]


def make_order(
    folder: Path,
    selection: Selection,
    where: Where,
    options: Sequence[str],
    variables: Iterable[str],
    arguments: Sequence[str],
) -> Order:
    """Return what to send for a grid, with all that travels put into an empty folder.

    Args:
        options: of `curvetune grid`, but for the places and plugins.
        variables: NAME=VALUE of `--env`.
        arguments: the command that was typed.

    Raises:
        ConfigError: something that was typed is not right, or a secret, which Ray would log.
    """
    where, code = where.checked(), this_code()
    space, path = selected_space(selection), find_space(selection.space)
    given = environment_of(variables)
    upload = pack(folder, path, needed_plugins(path, selection.plugins, space))
    values = {
        SUBMITTED: command(arguments),
        # Ray sends the signal of Ctrl-C, on which cells end their epoch however long that takes
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
        **({} if code.commit is None else {COMMIT: code.commit}),
    }
    first = first_id(space, where)
    return Order(
        first,
        entrypoint(upload, where, options),
        {
            "working_dir": str(upload.files),
            "py_modules": [str(upload.code)],
            "env_vars": {**given, **values},
        },
        {
            GRID: space.name,
            DIGEST: first.rpartition("-")[2],
            COMMAND: command(arguments),
            STORAGE: where.storage,
            CODE: code.source or "",
        },
    )


def first_id(space: Space, where: Where) -> str:
    """Return the id of a grid's first attempt: what decides its numbers, and where they are kept.

    The content of the images is not known here, and is not in it.
    """
    made = {
        "cells": sorted(fingerprint(cell.cell_identity("")) for cell in space.cells),
        "storage": where.storage,
        "data_dir": where.data_dir,
        "on_bad": where.on_bad,
    }
    return f"curvetune-{space.name}-{fingerprint(made)[:12]}"


def attempt_id(first: str, attempt: int) -> str:
    """Return the id of an attempt, counted from 1."""
    return first if attempt == 1 else f"{first}-{attempt}"


def entrypoint(upload: Upload, where: Where, options: Sequence[str]) -> str:
    """Return the command that the head runs.

    Raises:
        ConfigError: a secret is in it, which Ray would log.
    """
    words = ["python", "-m", "curvetune", "grid", upload.space, *options]
    words += [word for plugin in upload.plugins for word in ("--plugin", plugin)]
    words += ["--storage", where.storage, "--address", "auto"]
    if where.data_dir is not None:
        words += ["--data-dir", where.data_dir]
    # `exec`: no shell stays that would hear the signal to stop as well
    return " ".join(["exec", *map(_word, ["", *words], words)])


def _place(option: str, text: str, what: str) -> str:
    """Return a place of the cluster's in one spelling.

    Raises:
        ConfigError: it is relative, so that it would be in Ray's own folder, which goes.
    """
    if "://" in text:
        return text.rstrip("/")
    if not PurePosixPath(text).is_absolute():
        other = ", or an object store: s3://BUCKET/PREFIX" if option == "--storage" else ""
        raise ConfigError(
            f"{option} {printable(text)}: is relative, and the job runs in a folder of Ray's that "
            f"goes with it; give {what} by its absolute path{other}"
        )
    return os.path.normpath(text)


def _word(before: str, word: str) -> str:
    """Return a word of the entrypoint as its shell reads it.

    Raises:
        ConfigError: it is a secret.
    """
    if before == HOOK:
        if not VARIABLE.fullmatch(word):
            raise ConfigError(
                f"{HOOK}: the address of a web hook is a secret, and Ray logs what a job is "
                f"started with; set it on the head, and name the variable: {HOOK} '$HOOK'"
            )
        return f'"{word}"'
    if redact(word) != word:
        raise ConfigError(
            f"{before} {redact(word)}: has a secret in it, and Ray logs what a job is started "
            f"with; leave it out, and set it in the environment of the head (docs/cluster.md)"
        )
    return shlex.quote(word)


def environment_of(given: Iterable[str]) -> dict[str, str]:
    """Return the variables of `--env`.

    Raises:
        ConfigError: one is not NAME=VALUE, a secret, or not the user's to set.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise ConfigError(f"--env {printable(name)!r}: write NAME=VALUE")
        if OURS.fullmatch(name):
            raise ConfigError(f"--env {name}: decides how the job runs; leave it out")
        is_secret = NAMED_SECRET.search(name) and not NO_SECRET.search(name)
        if is_secret or redact(value) != value:
            raise ConfigError(
                f"--env {name}: is a secret, and Ray logs the environment of a job; set it in the "
                f"environment of the head instead (docs/cluster.md)"
            )
        found[name] = value
    return found
