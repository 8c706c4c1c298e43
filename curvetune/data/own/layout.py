"""Which folder of a folder of images is to train on, and which to test on.

    DIR/train/<class>/   with DIR/test/, else DIR/val/, DIR/valid/ or DIR/validation/, or neither
    DIR/<class>/         where none of DIR's folders is called as a part of a data set is

In whatever case the names are written. Where nothing is to test on, a part of each class is held
out (held_out.py).
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from curvetune.data.decode import SUFFIXES
from curvetune.data.walk import Entry, below, entries, is_folder, suffix_of
from curvetune.errors import DataError, printable

TRAIN, TEST, VAL = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")
LOOKED_AT = 10_000  # files of a folder that may be a class: somebody may give a whole disk


@dataclass(frozen=True)
class Layout:
    """Which folders are read, by their names in the data's folder.

    Args:
        train: None where the folder itself has the class folders, or there is none.
        test: None if there is none.
        is_plain: whether the folder itself has the class folders.
    """

    train: str | None
    test: str | None
    is_plain: bool = False

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Each split with the folder that its class folders are in; "." is the folder itself."""
        given = (("train", "." if self.is_plain else self.train), ("test", self.test))
        return tuple((split, name) for split, name in given if name is not None)

    def facts(self) -> list[str]:
        """Return what people should know of it, a line each."""
        if self.is_plain:
            return ["the folder's own folders are the classes"]
        if self.test is not None and self.test.lower() in VAL:
            return [f"images of {printable(self.test)} are tested on, since there is no test"]
        return []


def layout_of(folder: Path, *, rows_of: Collection[str] = ()) -> Layout:
    """Return which folders of a folder are read.

    Args:
        rows_of: the splits of the rows of labels.csv, if it has any. Then folders that are no part
            are no classes, and what the rows test on is not looked for elsewhere.

    Raises:
        DataError: a part is there twice, in two ways to write it.
    """
    folders = [entry for entry in entries(folder) if is_folder(entry)]
    if rows_of:
        names = {entry.name for entry in folders}
        train = "train" if "train" in names else None
        if "test" in names or train is None or not {"test", "val"}.isdisjoint(rows_of):
            return Layout(train, "test" if "test" in names else None)
        return Layout(train, _called(folder, folders, VAL))
    train, tested, val = (_called(folder, folders, names) for names in (TRAIN, TEST, VAL))
    if train is None and tested is None and val is None:
        return Layout(None, None, is_plain=bool(class_folders(folders)))
    return Layout(train, tested or val)


def has_parts(folder: Path) -> bool:
    """Say whether a folder has class folders in a part that is to train on."""
    try:
        found = layout_of(folder)
    except DataError:  # reading it says what is wrong
        return True
    return found.train is not None and any(map(is_folder, entries(folder / found.train)))


def is_plain(folder: Path) -> bool:
    """Say whether a folder itself has class folders, two or more."""
    try:
        found = layout_of(folder)
    except DataError:
        return False
    return found.is_plain and len(class_folders(entries(folder))) > 1


def class_folders(inside: Iterable[Entry]) -> list[Entry]:
    """Return those entries that are folders with an image, at any depth."""
    return [entry for entry in inside if is_folder(entry) and _has_image(entry)]


def _has_image(folder: Entry) -> bool:
    if suffix_of(folder.name) in SUFFIXES:
        return False
    files = islice(below(folder.path, folder.name), LOOKED_AT)
    with suppress(DataError):  # what cannot be read is no class
        return any(suffix_of(file) in SUFFIXES for file, _ in files)
    return False


def _called(folder: Path, folders: list[Entry], names: tuple[str, ...]) -> str | None:
    """Return the folder that has one of some names, None if there is none."""
    if names[0] in (exact := {entry.name for entry in folders}):
        return names[0]
    found = sorted(name for name in exact if name.lower() in names)
    if len(found) > 1:
        raise DataError(
            f"--data-dir {printable(folder)}: {' and '.join(map(printable, found))} may be the "
            f"same part of the data; allowed is one: put their images together, or call the one "
            f"to use {names[0]}"
        )
    return found[0] if found else None
