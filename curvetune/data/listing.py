"""Which files of a folder are images, and what they are labelled; no image is opened.

    DIR/train/<class>/<file>   DIR/test/<class>/<file>
    DIR/labels.csv             optional: columns file,label[,split], file relative to DIR; a row
                               labels a file outside the class folders, or one of them anew

The classes are the folders in train, by name; without any, the labels of labels.csv. A name is
data: it is never part of a path that is written, nor of markup. Hidden files and folders are left
out, and so is what has no image's extension.
"""

import csv
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from curvetune.data.decode import SUFFIXES
from curvetune.errors import DataError, printable

SPLITS = ("train", "test")
LABELS, COLUMNS = "labels.csv", ("file", "label", "split")
EXPECTED = "allowed is DIR/train/<class>/*.png with DIR/test/<class>/*.png (or .jpg, .webp …)"


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
    ignored: int  # files that are no images by their names


def list_images(folder: Path) -> Listing:
    """Return the images of a folder with their labels, training images first.

    Raises:
        DataError: the folder has another layout, or its labels.csv cannot be read.
    """
    found: dict[str, Listed] = {}
    ignored = 0
    classes = _class_folders(folder / "train")
    for split in SPLITS:
        for path, label in _files(folder / split):
            if path.suffix.lower() not in SUFFIXES:
                ignored += 1
                continue
            file = path.relative_to(folder).as_posix()
            found[file] = Listed(file, split, label, _problem(path, label))
    rows = _rows(folder / LABELS) if (folder / LABELS).exists() else {}
    classes = classes or _labels_of(rows)
    for file, row in rows.items():
        found[file] = _labelled(folder, row, classes)
    files = sorted((_checked(one, classes) for one in found.values()), key=_order)
    missing = [split for split in SPLITS if all(one.split != split for one in files)]
    if missing:
        raise DataError(
            f"--data-dir {printable(folder)}: no folder there has images for {missing[0]}; "
            f"{EXPECTED}; {LABELS} with the columns file,label,split is read as well"
        )
    return Listing(classes, tuple(files), ignored)


def is_plain_file(path: Path) -> bool:
    """Say whether there is a file, or a link to one: neither a folder nor a pipe or a device."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _order(one: Listed) -> tuple[int, bytes]:
    return (one.split != "train", os.fsencode(one.file))


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in _entries(folder) if _is_class(path)))


def _is_class(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() not in SUFFIXES


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what lies in the class folders, with its class; what lies beside them has none."""
    for path in _entries(folder):
        if _is_class(path):
            yield from ((inner, path.name) for inner in _entries(path))
        else:
            yield path, ""


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(
            f"{printable(folder)}: cannot be read ({error.strerror}); {EXPECTED}"
        ) from None


def _problem(path: Path, label: str) -> str | None:
    if path.is_dir():
        return "a folder, not a file"
    if not label:
        return f"in no class folder, and no row of {LABELS} labels it"
    return None if is_plain_file(path) else _no_file(path)


def _no_file(path: Path) -> str:
    if path.is_symlink():
        return "a link that leads to no file"
    return "not a plain file" if path.exists() else "no such file"


def _checked(one: Listed, classes: tuple[str, ...]) -> Listed:
    """Return a file, with the problem that its class has no folder in train, if that is so."""
    if one.problem is not None or one.label in classes:
        return one
    return replace(one, problem=f"no class {printable(one.label)!r} in train; {_allowed(classes)}")


# ---------------------------------------------------------------- labels.csv


@dataclass(frozen=True)
class _Row:
    file: str
    label: str
    split: str  # "" if the file does not say


def _rows(path: Path) -> dict[str, _Row]:
    """Return the rows of labels.csv by file.

    Raises:
        DataError: it cannot be read, lacks a column, or labels a file twice.
    """
    rows: dict[str, _Row] = {}
    if not is_plain_file(path):
        raise DataError(f"{printable(path)}: {_no_file(path)}; make it one, or remove it")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if "file" not in columns or "label" not in columns:
                raise DataError(
                    f"{printable(path)}: its columns are {printable(', '.join(columns)) or 'none'};"
                    f" allowed are file,label or file,label,split, in the first line"
                )
            for line in reader:
                name, label, split = ((line.get(c) or "").strip() for c in COLUMNS)
                name = str(PurePosixPath(name))  # a/./b is a/b
                if name in rows:
                    raise DataError(
                        f"{printable(path)}: line {reader.line_num}: {printable(name)} has a row "
                        f"already; allowed is one for each file"
                    )
                rows[name] = _Row(name, label, split)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{printable(path)}: cannot be read ({error}); write it as CSV in UTF-8"
        ) from None
    return rows


def _labels_of(rows: dict[str, _Row]) -> tuple[str, ...]:
    """Return the labels of the rows of training images, numbers in their own order."""
    labels = {row.label for row in rows.values() if _split(row) == "train" and row.label}
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (len(label.lstrip("0")), label)))
    return tuple(sorted(labels))


def _split(row: _Row) -> str:
    if row.split:
        return row.split
    first = row.file.partition("/")[0]
    return first if first in SPLITS else "train"


def _labelled(folder: Path, row: _Row, classes: tuple[str, ...]) -> Listed:
    """Return the file of a row, whose label may be a class or its number."""
    split, label = _split(row), row.label
    if label not in classes and label.isdecimal() and len(label) < 10 and int(label) < len(classes):
        label = classes[int(label)]
    return Listed(row.file, split, label, _row_problem(folder, row, split, label, classes))


def _row_problem(
    folder: Path, row: _Row, split: str, label: str, classes: tuple[str, ...]
) -> str | None:
    if row.file.startswith("/") or ".." in PurePosixPath(row.file).parts or "\0" in row.file:
        return f"{LABELS} names a file outside the folder"
    if split not in SPLITS:
        return f"split {printable(split)!r} in {LABELS}; allowed are {' and '.join(SPLITS)}"
    if label not in classes:
        return f"label {printable(label)!r} in {LABELS}; {_allowed(classes)}"
    path = folder / row.file
    if path.is_dir():
        return "a folder, not a file"
    return None if is_plain_file(path) else _no_file(path)


def _allowed(classes: tuple[str, ...]) -> str:
    """Return in words what a label can be."""
    shown = ", ".join(printable(name, 40) for name in classes[:10])
    more = f" … ({len(classes)} in all)" if len(classes) > 10 else ""
    return f"allowed are {shown}{more}, or 0 to {len(classes) - 1}"
