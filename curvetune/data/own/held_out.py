"""Images that are held out to test on, where people have set none aside.

A part of each class, chosen by the SHA-256 of the files' names: the same each time and on every
machine, whatever the seed. A file that is added or removed changes little of the choice.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence

SHARE = 0.2  # of each class, to the nearest whole image


def held_out(classes: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the files that are held out.

    Args:
        classes: the files of each class. Of one with a single file none is held out.
    """
    chosen: set[str] = set()
    for files in classes.values():
        count = max(1, round(SHARE * len(files))) if len(files) > 1 else 0
        chosen |= set(sorted(files, key=_place)[:count])
    return chosen


def words(count: int, total: int) -> str:
    """Return what people should know of it."""
    return (
        f"nothing is there to test on, so {count:,} of {total:,} images are held out: about "
        f"{100 * SHARE:.0f} % of each class, the same ones each time; a folder test or val "
        f"replaces them"
    )


def _place(file: str) -> tuple[bytes, str]:
    return hashlib.sha256(os.fsencode(file)).digest(), file
