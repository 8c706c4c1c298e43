"""What a bundle consists of, and what its parts are called.

    NAME/README.md              what it is, what came out, and how to repeat it
         bundle.json            what it is for programs, and the SHA-256 of every other file
         space.yaml             the grid as `curvetune show` prints it
         constraints.txt        the versions of all packages that curvetune needs
         references.bib         the publications of its methods
         tables/ figures/ plugins/
         storage/               its part of the storage, as that has it: cells, probes, splits

Paths inside are told without NAME, the grid's.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from curvetune.config.fingerprint import GRID_NAME
from curvetune.store.files import ID
from curvetune.store.names import (
    CELLS,
    CONFIG,
    CURVES,
    DONE,
    GRIDS,
    HISTORY,
    MANIFEST,
    MARGINS,
    MODEL,
    PROBES,
    RELABELS,
    ROUNDED,
    SAMPLES,
    SPLITS,
    STEP_TIMES,
)

SCHEMA_VERSION = 1
README, ABOUT, SPACE = "README.md", "bundle.json", "space.yaml"
CONSTRAINTS, REFERENCES = "constraints.txt", "references.bib"
TABLES, FIGURES, PLUGINS, STORAGE = "tables", "figures", "plugins", "storage"
FACTS = "data"  # in the storage part: sizes of classes
CELL_FILES = (CONFIG, HISTORY, MODEL, SAMPLES, DONE)
PROBE_FILES = (CURVES, MARGINS, MODEL, HISTORY, ROUNDED, MANIFEST)
ARRAYS = (".npy", ".safetensors")  # kept as they are: they hardly shrink

_STORED = re.compile(
    rf"{CELLS}/{ID.pattern}/({'|'.join(map(re.escape, CELL_FILES))})"
    rf"|{PROBES}/{ID.pattern}/({'|'.join(map(re.escape, PROBE_FILES))})"
    rf"|{SPLITS}/{ID.pattern}\.safetensors|{RELABELS}/{ID.pattern}\.csv"
    rf"|{GRIDS}/{GRID_NAME.pattern}\.json|{STEP_TIMES}/{GRID_NAME.pattern}\.json"
    rf"|{FACTS}/[0-9a-f]{{16,128}}\.json"
)
_MEMBER = re.compile(
    rf"{re.escape(README)}|{re.escape(ABOUT)}|{re.escape(SPACE)}|{re.escape(CONSTRAINTS)}"
    rf"|{re.escape(REFERENCES)}|({TABLES}|{FIGURES})/[\w=-][\w.=-]*"
    rf"|{PLUGINS}/([\w-][\w.-]*/)*[\w-][\w.-]*\.py|{STORAGE}/({_STORED.pattern})",
    re.ASCII,
)


def is_member(path: str) -> bool:
    """Say whether a bundle can have a file of this path, without the name that it begins with."""
    return _MEMBER.fullmatch(path) is not None


def is_array(path: str) -> bool:
    """Say whether a file is one of arrays."""
    return PurePosixPath(path).suffix in ARRAYS


def stored(*parts: str) -> str:
    """Return the path in a bundle of what a storage has under these names."""
    return "/".join((STORAGE, *parts))


def contents_of(about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what bundle.json lists: {path: {"sha256", "bytes"}}.

    Raises:
        ValueError: it lists something else.
    """
    found = about.get("contents")
    if not isinstance(found, dict):
        raise ValueError(f"its contents are {type(found).__name__}, not a list of files")
    for path, one in found.items():
        if not (isinstance(one, dict) and isinstance(one.get("sha256"), str) and is_member(path)):
            raise ValueError(f"it lists {path!r}, which is no file of a bundle")
    return found
