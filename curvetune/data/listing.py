"""Which files of a folder are images, and what they are labelled; no image is decoded.

    DIR/train/<class>/<file>   DIR/test/<class>/<file>, or any number of folders deeper
    DIR/labels.csv             optional: columns file,label[,split], file relative to DIR; a row
                               labels a file outside the class folders, or one of them anew

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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from curvetune.data.decode import SUFFIXES
from curvetune.data.kinds import UNREAD, FileKind, kind_of
from curvetune.data.labels import Classes, alike, named_by, number, positions, unfit
from curvetune.data.labels_csv import LABELS, SPLITS, LabelRow, on_disk, read_rows
from curvetune.data.walk import Entry, below, entries, is_folder, is_plain, suffix_of
from curvetune.errors import DataError, printable

EXPECTED = "allowed is DIR/train/<class>/*.png with DIR/test/<class>/*.png (or .jpg, .webp …)"
NAMED = 5  # files that are named; the others are counted
LOOKED_AT = 100_000  # files beside train and test: so many take a tenth of a second


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
class LeftOut:
    """What is in a folder and is not read, beside bad images."""

    unread: dict[str, int] = field(default_factory=dict)  # bad for their kind alone, by extension
    others: tuple[str, ...] = ()  # files in train and test that are no images
    beside: dict[str, int] = field(default_factory=dict)  # images by folder, not train or test

    def words(self) -> list[str]:
        """Return what people should know about it, a line each."""
        lines = []
        if self.unread:
            kinds = ", ".join(f"{suffix} ({n:,})" for suffix, n in self.unread.items())
            lines.append(f"images of a kind that is not read: {kinds}")
        if self.others:
            names = ", ".join(map(printable, self.others[:NAMED]))
            more = ", …" if len(self.others) > NAMED else ""
            lines.append(f"other files, not read: {len(self.others):,} ({names}{more})")
        for where, n in self.beside.items():
            place = "beside train and test" if where == "." else f"in {printable(where)}"
            lines.append(f"images {place}, not read: {n:,} (no row of {LABELS} names them)")
        return lines


@dataclass(frozen=True)
class Listing:
    """The files of a folder, sorted."""

    classes: tuple[str, ...]
    files: tuple[Listed, ...]
    left_out: LeftOut
    counted: bool = False  # whether labels.csv counts the classes


def list_images(folder: Path) -> Listing:
    """Return the images of a folder with their labels, training images first.

    Raises:
        DataError: the folder has another layout, or its labels.csv cannot be read.
    """
    rows = _rows(folder)
    inside = {split: entries(folder / split) for split in SPLITS}
    names = {split: _class_folders(folder / split, inside[split]) for split in SPLITS}
    classes = Classes(names["train"] or named_by(r.label for r in rows if r.split == "train"))
    found = _Found(classes)
    for split in SPLITS:
        for entry in inside[split]:
            found.add_all(split, entry, is_class=entry.name in names[split])
    counted = positions(classes, {row.label for row in rows}, printable(folder / LABELS))
    meaning = _Meaning(classes, counted)
    for row in rows:
        found.add_row(folder, row, meaning)
    files = found.sorted()
    missing = [split for split in SPLITS if all(one.split != split for one in files)]
    if missing:
        raise DataError(
            f"--data-dir {printable(folder)}: no folder there has images for {missing[0]}; "
            f"{EXPECTED}; {LABELS} with the columns file,label,split is read as well"
        )
    return Listing(classes.names, files, found.left_out(folder), bool(counted))


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

    def add_all(self, split: str, entry: Entry, *, is_class: bool) -> None:
        """Add what an entry of train or test is, or has in it."""
        if not is_class:
            reason = f"in no class folder, and no row of {LABELS} labels it"
            self._add(f"{split}/{entry.name}", entry, split, "", reason)
            return
        k = self.classes.find(entry.name)
        label = entry.name if k is None else self.classes.names[k]
        problem = None if k is not None else _no_class(entry.name, self.classes)
        for file, inner in below(entry.path, f"{split}/{entry.name}", closed=SUFFIXES):
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

    def sorted(self) -> tuple[Listed, ...]:
        """Return the files in the order that they have in the data set."""
        return tuple(sorted(self.files.values(), key=_order))

    def left_out(self, folder: Path) -> LeftOut:
        """Return what is not read."""
        unread = Counter(suffix_of(file) or "no extension" for file in self.kinds)
        others = sorted(self.others, key=os.fsencode)
        return LeftOut(dict(unread.most_common()), tuple(others), _beside(folder, self.files))

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


def _beside(folder: Path, files: dict[str, Listed]) -> dict[str, int]:
    """Return how many images lie in other folders than train and test, as far as is looked."""
    count: Counter[str] = Counter()
    for looked, (file, where) in enumerate(_others(folder)):
        if looked == LOOKED_AT:
            break
        if file not in files and suffix_of(file) in SUFFIXES:
            count[where] += 1
    return dict(sorted(count.items()))


def _others(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each file beside train and test, and in which folder of `folder` it is."""
    for entry in entries(folder):
        if not is_folder(entry):
            yield entry.name, "."
        elif entry.name not in SPLITS:
            with suppress(DataError):  # what cannot be read need not be
                yield from ((file, entry.name) for file, _ in below(entry.path, entry.name))


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
