"""Which code made a result: the commit, for people, and a digest of the sources, which decides.

A commit says too much and too little. Another commit may only have changed a page of the docs, and
a tree with uncommitted changes has the commit of a code that is not it. So a result also records
the digest of the modules that decide its numbers.
"""

import functools
import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import curvetune
from curvetune.errors import printable

COMMIT = "CURVETUNE_COMMIT"  # says the commit where a copy of the code has no git to ask
DIRTY = "-dirty"  # what `git describe` adds where files have changed since
# What `curvetune.cell` and all that it imports consist of (tests/system/test_source_code.py).
CORE = (
    *("batch.py", "bias", "cell.py", "config", "data", "errors.py", "meta", "methods", "models"),
    *("plugins", "probe", "seeding.py", "store", "training"),
    *("system/collecting.py", "system/json_text.py", "system/machine.py", "system/memory.py"),
    *("system/newfile.py", "system/redact.py", "system/source_code.py", "system/units.py"),
)


@dataclass(frozen=True)
class Code:
    """The code that made a result; None where a result does not tell."""

    commit: str | None
    source: str | None

    @property
    def is_dirty(self) -> bool:
        """Whether files had changed since the commit."""
        return self.commit is not None and self.commit.endswith(DIRTY)

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        return self.commit is not None or self.source is not None

    def is_other_than(self, other: "Code") -> bool:
        """Say whether the two are known to differ: by their sources, else by their commits."""
        if self.source is not None and other.source is not None:
            return self.source != other.source
        return None not in (self.commit, other.commit) and self.commit != other.commit

    def __str__(self) -> str:
        if self.commit is None:
            return f"sources {printable(self.source)}"
        return f"commit {printable(self.commit)}"


def this_code() -> Code:
    """Return the code of this process."""
    return Code(os.environ.get(COMMIT) or _commit(_package()), _digest(_package()))


def code_of(result: Mapping[str, Any]) -> Code:
    """Return the code that made a result; of an older one, the commit alone."""
    commit, source = result.get("commit"), result.get("source")
    return Code(str(commit) if commit else None, str(source) if source else None)


def others(made: Iterable[Code], here: Code) -> str | None:
    """Say how many results other code made than that of this process; None if none was."""
    made = list(made)
    strange = [code for code in made if code.is_other_than(here)]
    if not strange:
        return None
    return (
        f"{len(strange)} of {len(made)} results that are reused were made by other code "
        f"({_counted(strange)}); this is {here}. Their addresses are the same, which promises the "
        f"same numbers; another --storage makes them anew"
    )


def mixture(made: Iterable[Code]) -> list[str]:
    """Say of the results of a grid whether different code made them, or uncommitted code."""
    known = [code for code in made if code.is_known]
    notes = []
    if any(code.is_other_than(known[0]) for code in known):
        notes.append(f"the results were made by different code: {_counted(known)}")
    dirty = [code for code in known if code.is_dirty]
    if dirty:
        notes.append(
            f"{len(dirty)} of {len(known)} results were made with uncommitted changes "
            f"({_counted(dirty)}), so no commit has their code"
        )
    return notes


def _counted(codes: Iterable[Code], shown: int = 4) -> str:
    counts = Counter(str(code) for code in codes).most_common()
    more = f", and {len(counts) - shown} more" if len(counts) > shown else ""
    return ", ".join(f"{name}: {n}" for name, n in counts[:shown]) + more


def _package() -> Path:
    return Path(curvetune.__file__).parent


@functools.cache
def _commit(package: Path) -> str | None:
    """Return the commit of the checkout that `package` is in; None where it is installed.

    An environment with curvetune may lie in a repository of the user's. Its commit says nothing of
    curvetune's code, so git is asked whether it tracks the package at all.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", f"--dirty={DIRTY}", "--abbrev=12") or None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git answers in a folder; None if it fails, or is not there."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@functools.cache
def _digest(package: Path) -> str:
    """Return 16 hex digits of the SHA-256 over the names and bytes of the core's modules."""
    total = hashlib.sha256()
    for name in CORE:
        place = package / name
        for path in [place] if place.suffix else sorted(place.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()[:16]
