"""ANIMAL-10N: 50,000 images of ten animals that are easily confused, and 5,000 to test.

    DIR/training/<label>_<id>.jpg    DIR/testing/<label>_<id>.jpg

The label is the number before the first `_`. Files come in the order of their names, since that of
a folder is not the same everywhere.

Source: Song, Kim and Lee, "SELFIE", ICML 2019, and its release.
"""

import re
from pathlib import Path

from curvetune.data.decode import SUFFIXES
from curvetune.data.tables.lines import wrong
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import Table
from curvetune.data.walk import entries, suffix_of

NAMES = (
    *("cat", "lynx", "wolf", "coyote", "cheetah", "jaguar"),
    *("chimpanzee", "orangutan", "hamster", "guinea pig"),
)
LABEL = re.compile(r"([0-9])_")
WANTED = "DIR/training and DIR/testing with files <label>_<id>.jpg, labels 0 to 9"
BELOW = ("ANIMAL-10N", "animal10n", "raw_image")  # folders in which it may lie


def is_here(data_dir: Path) -> bool:
    """Say whether a folder looks like one of these."""
    folder = folder_with(data_dir, "training", BELOW)
    if folder is None:
        return False
    names = (entry.name for entry in entries(folder / "training"))
    return any(LABEL.match(name) is not None for name in names)


def read(data_dir: Path) -> Table:
    """Return the rows.

    Raises:
        DataError: it is not there, or a file's name has no label.
    """
    folder = folder_with(data_dir, "training", BELOW)
    if folder is None or not (folder / "testing").is_dir():
        zips = [zipped.name for zipped in data_dir.glob("raw_image*.zip")]
        hint = f"; unpack {zips[0]} first" if zips else ""
        raise not_there("animal10n", data_dir, f"{WANTED}{hint}")
    return table_of_files(folder, NAMES, _rows(folder, "training"), _rows(folder, "testing"))


def _rows(folder: Path, split: str) -> Rows:
    rows = Rows()
    for name in sorted(e.name for e in entries(folder / split)):
        if suffix_of(name) not in SUFFIXES:
            continue
        if (label := LABEL.match(name)) is None:
            raise wrong(folder / split, "file", f"{name!r} has no label", "<0 to 9>_<id>.jpg")
        rows.add(f"{split}/{name}", int(label[1]))
    return rows
