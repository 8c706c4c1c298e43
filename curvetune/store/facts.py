"""What a storage remembers of a data set beside its digest.

    data/<digest>.json    what is there more than once (data/duplicates.py)
    data/<digest>-bad.csv images of a folder that were left out

Nothing else depends on them: they are told, and can be deleted.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvetune.errors import CorruptError
from curvetune.store.files import read_json, write_json
from curvetune.store.plain import check_inside

DIGEST = re.compile(r"[0-9a-f]{16,128}")


def facts_file(root: Path, digest: str, ending: str = ".json") -> Path:
    """Return the file with facts of the data with this content digest.

    Raises:
        ValueError: it is no digest.
        StorageError: it is a link out of the root.
    """
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is 16 to 128 hexadecimal digits, got {digest!r}")
    path = root / "data" / f"{digest}{ending}"
    check_inside(root, path)
    return path


def write_facts(root: Path, digest: str, facts: Mapping[str, Any]) -> None:
    """Keep facts of a data set.

    Raises:
        StorageError: they cannot be written.
    """
    write_json(facts_file(root, digest), facts)


def read_facts(root: Path, digest: str) -> dict[str, Any] | None:
    """Return the facts of a data set; None where there are none, or damaged ones."""
    try:
        return read_json(facts_file(root, digest))
    except (CorruptError, ValueError):
        return None
