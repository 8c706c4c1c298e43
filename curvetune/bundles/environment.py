"""The versions that a grid can be repeated with, and what its results say they were made with."""

import importlib.metadata
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from curvetune.errors import printable

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
PACKAGE = "curvetune"


def constraints() -> str:
    """Return the versions of all packages here that curvetune needs, for `pip install -c`."""
    versions = sorted(needed(), key=lambda one: one[0].lower())
    lines = [f"{name}=={version}" for name, version in versions if name != PACKAGE]
    head = [
        "# The versions of the machine that made this bundle: pip install -c constraints.txt ...",
        f"# Python {platform.python_version()}; what each cell was run with: bundle.json",
    ]
    return "\n".join([*head, *lines, ""])


def needed(package: str = PACKAGE) -> list[tuple[str, str]]:
    """Return each installed package that a package needs, itself and by way of others.

    A version has no `+cpu` at its end: another index has another one.
    """
    found: dict[str, tuple[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    left = [(package, "")]
    while left:
        name, extra = left.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        try:
            distribution = importlib.metadata.distribution(key)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system, or an extra that is not installed
        found[key] = distribution.metadata["Name"], distribution.version.partition("+")[0]
        left += _requirements(distribution, extra)
    return [*found.values()]


def made_with(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return on which devices, with which versions and code how many results were made."""
    results = list(results)
    versions = [
        ", ".join(f"{name} {printable(one)}" for name, one in sorted(_versions(result).items()))
        for result in results
    ]
    return {
        "devices": _counted(result.get("device") for result in results),
        "versions": _counted(versions),
        "commits": _counted(result.get("commit") for result in results),
        "sources": _counted(result.get("source") for result in results),
    }


def _requirements(
    distribution: importlib.metadata.Distribution, extra: str
) -> list[tuple[str, str]]:
    """Return what a package needs, and which extras of it: ("ray", "tune"); of one extra alone."""
    found = []
    for line in distribution.requires or ():
        of = EXTRA.search(line)
        needs = NAME.match(line)
        if needs is not None and (of[1] if of else "") == extra:
            extras = [one.strip() for one in (needs[2] or "").split(",")]
            found += [(needs[1], one) for one in {"", *extras}]
    return found


def _versions(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found = result.get("versions")
    return found if isinstance(found, Mapping) else {}


def _counted(values: Iterable[Any]) -> dict[str, int]:
    counts = Counter(printable(value) for value in values if value)
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
