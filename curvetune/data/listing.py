"""Which files of a folder are images, and what they are labelled; no image is decoded.

    DIR/train/<class>/<file>   DIR/test/<class>/<file>, or any number of folders deeper; other
                               folders that people have: own/layout.py
    DIR/labels.csv             optional: columns file,label[,split], file relative to DIR; a row
                               labels a file outside the class folders, or one of them anew

Where nothing is to test on, a part of each class is held out (own/held_out.py).

The classes are the folders in train, by name; without any, the labels of labels.csv. A name is
data: it is never part of a path that is written, nor of markup. Hidden files and folders are left
out. What has no image's extension is counted, and an image all the same (kinds.py) is bad.

What a label means (labels.py), of a folder in test and of a row: the class of that name, in
whatever form of Unicode. Where class names are numbers, the one that is the same number. Only where
none is a number, labels.csv may count the classes instead: from 0, with a 0 among its labels, none
of them K or more, and none a name. Everything else is an error or a bad image, never a guess.
"""

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from curvetune.data.decode import SUFFIXES
from curvetune.data.kinds import UNREAD, FileKind, kind_of
from curvetune.data.labels import Classes, alike, named_by, number, positions, unfit
from curvetune.data.labels_csv import LABELS, SPLITS, LabelRow, on_disk, read_rows, tested_rows
from curvetune.data.own.held_out import held_out, words
from curvetune.data.own.layout import class_folders, layout_of
from curvetune.data.own.left_out import LeftOut, beside
from curvetune.data.walk import Entry, below, entries, is_folder, is_plain, suffix_of
from curvetune.errors import DataError, printable

EXPECTED = (
    "allowed is DIR/train/<class>/*.png with DIR/test/<class>/*.png (or val, or neither: then a "
    "part is held out), or DIR/<class>/*.png (or .jpg, .webp …)"
)


@dataclass(frozen=True)
class Listed:
    """A file that should be an image."""

    file: str  # relative to the folder, with /
    split: str  # of SPLITS, if there is no problem
    label: str  # a class, if there is no problem
    problem: str | None = None  # why it cannot be used

    @property
    def suffix(self) -> str:
        """The extension, in lower case."""
        return PurePosixPath(self.file).suffix.lower()


@dataclass(frozen=True)
class Listing:
    """The files of a folder, sorted."""

    classes: tuple[str, ...]
    files: tuple[Listed, ...]
    left_out: LeftOut
    counted: bool = False  # whether labels.csv counts the classes
    facts: tuple[str, ...] = ()  # what else people should know


def list_images(folder: Path) -> Listing:
    """Return the images of a folder with their labels, training images first.

    Raises:
        DataError: the folder has another layout, or its labels.csv cannot be read.
    """
    given = _rows(folder)
    layout = layout_of(folder, rows_of=frozenset(row.split for row in given))
    sorted_rows = tested_rows(given, has_test=layout.test is not None)
    rows = sorted_rows.read
    inside = {split: _inside(folder, name) for split, name in layout.parts}
    names = {split: _class_folders(folder / name, inside[split]) for split, name in layout.parts}
    classes = Classes(names.get("train") or named_by(r.label for r in rows if r.split == "train"))
    found = _Found(classes)
    for split, name in layout.parts:
        for entry in inside[split]:
            found.add_all(split, name, entry, is_class=entry.name in names[split])
    counted = positions(classes, {row.label for row in rows}, printable(folder / LABELS))
    meaning = _Meaning(classes, counted)
    for row in rows:
        found.add_row(folder, row, meaning)
    found.leave_out(row.file for row in sorted_rows.unread)
    files = found.sorted()
    facts = [*layout.facts(), *sorted_rows.facts]
    if layout.test is None and all(row.split == "train" for row in rows):
        files, more = _with_some_held_out(files)
        facts += more
    missing = [split for split in SPLITS if all(one.split != split for one in files)]
    if missing:
        raise DataError(
            f"--data-dir {printable(folder)}: no folder there has images for {missing[0]}; "
            f"{EXPECTED}; {LABELS} with the columns file,label,split is read as well"
        )
    left_out = found.left_out(folder, [name for _, name in layout.parts])
    return Listing(classes.names, files, left_out, bool(counted), tuple(facts))


def _inside(folder: Path, name: str) -> list[Entry]:
    """Return what is in a part of a folder; of the folder itself, the class folders."""
    found = entries(folder / name)
    return class_folders(found) if name == "." else found


def _with_some_held_out(files: tuple[Listed, ...]) -> tuple[tuple[Listed, ...], list[str]]:
    """Return the files with those to test on among them, and what to say of it."""
    usable = [one for one in files if one.problem is None]
    by_class: dict[str, list[str]] = {}
    for one in usable:
        by_class.setdefault(one.label, []).append(one.file)
    if not (chosen := held_out(by_class)):
        return files, []
    moved = (replace(one, split="test") if one.file in chosen else one for one in files)
    return tuple(sorted(moved, key=_order)), [words(len(chosen), len(usable))]


class _Meaning(dict[str, int | None]):
    """The class of each label of labels.csv, looked up once."""

    def __init__(self, classes: Classes, counted: dict[str, int]) -> None:
        super().__init__(counted)
        self.classes = classes

    def __missing__(self, label: str) -> int | None:
        self[label] = found = self.classes.find(label)
        return found


class _Found:
    """The files that were found so far."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.files: dict[str, Listed] = {}
        self.plain: set[str] = set()  # of `files`: what is a plain file, or a link to one
        self.kinds: dict[str, FileKind] = {}  # of `files`: what is no plain image
        self.others: dict[str, None] = {}

    def add_all(self, split: str, part: str, entry: Entry, *, is_class: bool) -> None:
        """Add what an entry of a part of the data is, or has in it."""
        name = entry.name if part == "." else f"{part}/{entry.name}"
        if not is_class:
            reason = f"in no class folder, and no row of {LABELS} labels it"
            self._add(name, entry, split, "", reason)
            return
        k = self.classes.find(entry.name)
        label = entry.name if k is None else self.classes.names[k]
        problem = None if k is not None else _no_class(entry.name, self.classes)
        for file, inner in below(entry.path, name, closed=SUFFIXES):
            self._add(file, inner, split, label, problem)

    def add_row(self, folder: Path, row: LabelRow, meaning: _Meaning) -> None:
        """Add what a row of labels.csv labels, or label it anew."""
        k = meaning[row.label]
        label = row.label if k is None else self.classes.names[k]
        problem = _row_problem(row)
        if problem is None and k is None:
            problem = (
                f"label {printable(row.label)!r} in {LABELS}{_why_not(row.label, self.classes)}"
            )
        if problem is None and row.file not in self.plain:
            problem = _file_problem(folder / row.file)
        self.kinds.pop(row.file, None)
        if problem is None and suffix_of(row.file) in UNREAD:
            problem = _kind_problem("unread", row.file)
            self.kinds[row.file] = "unread"
        self.others.pop(row.file, None)
        self.files[row.file] = Listed(row.file, row.split, label, problem)

    def leave_out(self, files: Iterable[str]) -> None:
        """Forget files that are not to be used."""
        for file in files:
            self.files.pop(file, None)

    def sorted(self) -> tuple[Listed, ...]:
        """Return the files in the order that they have in the data set."""
        return tuple(sorted(self.files.values(), key=_order))

    def left_out(self, folder: Path, parts: Collection[str]) -> LeftOut:
        """Return what is not read, beside the folders of some parts."""
        unread = Counter(suffix_of(file) or "no extension" for file in self.kinds)
        others = sorted(self.others, key=os.fsencode)
        return LeftOut(dict(unread.most_common()), tuple(others), beside(folder, self.files, parts))

    def _add(self, file: str, entry: Entry, split: str, label: str, problem: str | None) -> None:
        suffix = suffix_of(entry.name)
        if is_plain(entry):
            self.plain.add(file)
            kind: FileKind = "image" if suffix in SUFFIXES else kind_of(Path(entry.path), suffix)
        else:
            kind = "image" if suffix in SUFFIXES else "other"
            problem = _file_problem(Path(entry.path))
        if kind == "other":
            self.others[file] = None
            return
        if kind != "image":
            self.kinds[file] = kind
            problem = _kind_problem(kind, file)
        self.files[file] = Listed(file, split, label, problem)


def is_plain_file(path: Path) -> bool:
    """Say whether there is a file, or a link to one: neither a folder nor a pipe or a device."""
    return _file_problem(path) is None


def _order(one: Listed) -> tuple[bool, bytes]:
    return (one.split != "train", os.fsencode(one.file))


def _class_folders(folder: Path, inside: list[Entry]) -> list[str]:
    """Return the names of the class folders in train or in test, sorted.

    Raises:
        DataError: two of them look the same.
    """
    names = sorted(e.name for e in inside if is_folder(e) and suffix_of(e.name) not in SUFFIXES)
    if twins := alike(names):
        raise DataError(
            f"{printable(folder)}: the class folders {' and '.join(map(ascii, twins))} have the "
            f"same name in two forms of Unicode; allowed is one: put their images in one folder"
        )
    return names


def _rows(folder: Path) -> list[LabelRow]:
    """Return the rows of labels.csv; none if there is none."""
    path = folder / LABELS
    if not path.exists():
        return []
    if (problem := _file_problem(path)) is not None:
        raise DataError(f"{printable(path)}: {problem}; make it a file, or remove it")
    return on_disk(folder, read_rows(path))


# ---------------------------------------------------------------- what is wrong


def _file_problem(path: Path) -> str | None:
    """Say why there is no plain file, nor a link to one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "a link that leads to no file" if os.path.islink(path) else "no such file"
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "a folder, not a file"
    return "a link that leads to no file" if os.path.islink(path) else "not a plain file"


def _kind_problem(kind: FileKind, file: str) -> str:
    if kind == "unread":
        return (
            f"{suffix_of(file)} is an image of a kind that is not read; convert it to PNG or JPEG"
        )
    return "an image by its content, but not by its name; add the extension that it should have"


def _row_problem(row: LabelRow) -> str | None:
    if row.is_outside:
        return f"{LABELS} names a file outside the folder"
    if row.split not in SPLITS:
        return f"split {printable(row.split)!r} in {LABELS}; allowed are {' and '.join(SPLITS)}"
    return None


def _no_class(name: str, classes: Classes) -> str:
    return f"no class {printable(name)!r} in train{classes.why_not(name)}"


def _why_not(label: str, classes: Classes) -> str:
    if number(label) is not None and unfit(label) is None and not classes.have_numbers:
        return f" is a number where other labels are none; {classes.allowed()}"
    return classes.why_not(label)
