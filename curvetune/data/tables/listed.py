"""Anybody's list of images: CSV, TSV, JSON lines or Parquet, with a row for each file.

    path      (or file, file_name, image) relative to the folder of the list
    label     the name or number of a class: data/labels.py
    split     train or test, optional; else the first folder of the path is it
    true_label, verified (1 right, 0 wrong), clean (1: of the clean set)     optional

The classes are the labels of the rows to train on. Rows of a split val, valid or validation are
test images where none is called test; else they are not read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data.labels import Classes, named_by, unfit
from curvetune.data.labels_csv import SPLITS
from curvetune.data.tables.columns import (
    PARQUET,
    SUFFIXES,
    Columns,
    column_names,
    plain_columns,
    read_columns,
)
from curvetune.data.tables.encoded import Files
from curvetune.data.tables.lines import is_outside, wrong
from curvetune.data.tables.rows import known
from curvetune.data.tables.table import ANOTHER, UNKNOWN, Table
from curvetune.data.tables.texts import Texts
from curvetune.errors import DataError, printable

PATHS, LABEL = ("path", "file", "file_name", "image"), "label"
SPLIT, TRUE, VERIFIED, CLEAN = "split", "true_label", "verified", "clean"
VAL = ("val", "valid", "validation")
AT_ONCE = 65_536  # paths that are looked at
SUSPICIOUS = ("\n\n", "\n/", "\n\\", "..", "\0")  # of paths between line ends
FLAGS = {"1": 1, "true": 1, "1.0": 1, "0": 0, "false": 0, "0.0": 0, "": UNKNOWN}
WANTED = (
    "a list (.csv, .tsv, .jsonl or .parquet) with the columns path and label, and split (train or "
    "test) unless the paths begin with it"
)


def find(data_dir: Path) -> Path | None:
    """Return the list: `data_dir` itself, or the one list with a path and a label in it.

    Raises:
        DataError: there are several, or the only one cannot be read.
    """
    if data_dir.is_file():
        return data_dir
    if not data_dir.is_dir():
        return None
    candidates = sorted(data_dir.iterdir())
    files = [path for path in candidates if _is_list(path)]
    if len(files) > 1:
        raise DataError(
            f"--data-dir {printable(data_dir)}: it has {len(files)} lists of images "
            f"({', '.join(printable(path.name) for path in files[:5])}); allowed is one: give the "
            f"file itself, --data-dir {printable(files[0])}"
        )
    if not files:
        _check_readable(candidates)
    return files[0] if files else None


def _check_readable(candidates: Sequence[Path]) -> None:
    """Raise what is wrong with a file that may be the list, if no other is."""
    for path in candidates:
        if _may_be_list(path):
            column_names(path)


def is_here(data_dir: Path) -> bool:
    """Say whether a file is a list, or a folder has one."""
    if data_dir.is_file():
        return _is_list(data_dir)
    return data_dir.is_dir() and any(_is_list(path) for path in data_dir.iterdir())


def read(data_dir: Path) -> Table:
    """Return the rows of the list.

    Raises:
        DataError: there is none, or it is not as it should be.
    """
    path = find(data_dir)
    if path is None:
        raise DataError(f"--data-dir {printable(data_dir)}: no list there; allowed is {WANTED}")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"--data-dir {printable(path)}: no list by its name; allowed is {WANTED}")
    columns = read_columns(path, [*PATHS, LABEL, SPLIT, TRUE, VERIFIED, CLEAN])
    names = [name for name in PATHS if name in columns.of]
    if len(names) != 1 or LABEL not in columns.of:
        there = ", ".join(column_names(path)) or "none"
        where = "" if path.suffix.lower() in PARQUET else "line 1: "
        raise DataError(
            f"{printable(path)}: {where}its columns are {printable(there)}; allowed is one of "
            f"{', '.join(PATHS)}, and {LABEL}: rename them"
        )
    return _table(columns, names[0])


def _table(columns: Columns, path_column: str) -> Table:
    files, labels = columns.of[path_column], columns.of[LABEL]
    _check_files(columns, files)
    train, test = _splits(columns, files)
    classes = Classes(named_by(labels[k] for k in train))
    order = np.concatenate([train, test])
    y = _classes(columns, LABEL, order, classes)
    of_train = np.full(len(files), UNKNOWN, np.int64)
    of_train[train] = np.arange(len(train))
    verified = _flags(columns, VERIFIED, of_train)
    clean = _flags(columns, CLEAN, of_train)
    right = {k for flags in (verified, clean) for k, flag in flags.items() if flag == 1}
    wrong_ones = {k for k, flag in verified.items() if flag == 0}
    y_true = {**{k: int(y[k]) for k in right}, **dict.fromkeys(wrong_ones, ANOTHER)}
    if TRUE in columns.of:
        told = np.array([row for row in train.tolist() if columns.of[TRUE][row]], np.int64)
        true = _classes(columns, TRUE, told, classes)
        y_true |= dict(zip(of_train[told].tolist(), true.tolist(), strict=True))
    _check_clean(columns, train, y, y_true, {k for k, flag in clean.items() if flag == 1})
    members = np.array([k for k, flag in clean.items() if flag == 1], np.int64)
    return Table(
        encoded=Files(columns.path.parent, Texts(files[k] for k in order)),
        train=len(train),
        y=y,
        class_names=classes.names,
        y_true=known(len(train), y_true, np.int64) if y_true else None,
        verified=known(len(train), verified, np.int8) if verified else None,
        clean=members if len(members) else None,
    )


def _check_clean(
    columns: Columns,
    train: NDArray[np.int64],
    y: NDArray[np.int64],
    y_true: dict[int, int],
    clean: set[int],
) -> None:
    """Refuse an image of the clean set whose label is said to be wrong in another column."""
    for k in sorted(clean):
        if y_true[k] != y[k]:
            where = columns.where(int(train[k]))
            what = f"{CLEAN} is 1, and {TRUE} or {VERIFIED} says that the label is wrong"
            raise wrong(columns.path, where, what, "a clean set of right labels")


def _may_be_list(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")


def _is_list(path: Path) -> bool:
    if not _may_be_list(path):
        return False
    try:
        names = plain_columns(path)
    except DataError:  # what is no list need not be read
        return False
    return LABEL in names and any(name in names for name in PATHS)


def _check_files(columns: Columns, files: Sequence[str]) -> None:
    if not _has_twice(files) and not any(map(_is_suspicious, _parts(files))):
        return
    first: dict[str, int] = {}
    for row, file in enumerate(files):
        if not file or is_outside(file) or file.startswith("\\"):
            what = f"{printable(file)} is outside the folder" if file else "no path"
            allowed = "a path within the list's folder"
            raise wrong(columns.path, columns.where(row), what, allowed)
        if first.setdefault(file, row) != row:
            what = f"{printable(file)} has a row already ({columns.where(first[file])})"
            raise wrong(columns.path, columns.where(row), what, "one for each file")


def _parts(files: Sequence[str]) -> Iterator[Sequence[str]]:
    return (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE))


def _is_suspicious(files: Sequence[str]) -> bool:
    """Say whether one of some paths may be wrong: of all at once, in a tenth of the time."""
    whole = "\n".join(["", *files, ""])
    return any(mark in whole for mark in SUSPICIOUS)


def _has_twice(files: Sequence[str]) -> bool:
    """Say whether two paths may be the same: of their hashes, in a tenth of a set's memory."""
    hashes = np.fromiter(map(hash, files), np.int64, len(files))
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any())


def _splits(columns: Columns, files: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on, and to test on."""
    given = columns.of.get(SPLIT)
    names = (*SPLITS, "val")
    number = {name: k for k, name in enumerate(names)}
    meaning = {split: _split_called(split) for split in set(given or ())}
    kinds = np.empty(len(files), np.int8)
    for row, file in enumerate(files):
        split = given[row] if given else ""
        name = meaning[split] if split else _split_called(_first_folder(file))
        if name not in number:
            allowed = f"{', '.join(SPLITS)} and val"
            raise wrong(columns.path, columns.where(row), f"split {printable(split)!r}", allowed)
        kinds[row] = number[name]
    train, tested, val = (np.flatnonzero(kinds == number[name]) for name in names)
    test = tested if len(tested) else val
    if not len(train) or not len(test):
        lacks = "test" if len(train) else "train"
        raise DataError(
            f"{printable(columns.path)}: no row is of split {lacks}; allowed is a column {SPLIT} "
            f"with train and test, or paths that begin with them: add it"
        )
    return train, test


def _split_called(name: str) -> str:
    return "val" if name.lower() in VAL else name.lower()


def _first_folder(file: str) -> str:
    first = file.partition("/")[0]
    return first if first in (*SPLITS, *VAL) else "train"


def _classes(
    columns: Columns, column: str, rows: NDArray[np.int64], classes: Classes
) -> NDArray[np.int64]:
    labels = columns.of[column]
    meaning = {label: classes.find(label) for label in {labels[row] for row in rows}}
    unknown = {label for label, k in meaning.items() if k is None}
    for row in rows if unknown else ():
        if labels[row] in unknown:
            raise _no_class(columns, column, int(row), classes)
    return np.fromiter((meaning[labels[row]] for row in rows), np.int64, len(rows))


def _no_class(columns: Columns, column: str, row: int, classes: Classes) -> DataError:
    label = columns.of[column][row]
    why = classes.why_not(label)
    if unfit(label) is not None and column == LABEL:
        why = f" is {unfit(label)}; allowed are names, or whole numbers from 0"
    return DataError(
        f"{printable(columns.path)}: {columns.where(row)}: {column} {printable(label)!r}{why}: "
        f"correct the row, or take it out"
    )


def _flags(columns: Columns, column: str, of_train: NDArray[np.int64]) -> dict[int, int]:
    """Return the flags of rows to train on that have one, by position.

    Args:
        of_train: position of each row among those to train on, UNKNOWN if it is none.
    """
    return dict(_each_flag(columns, column, of_train))


def _each_flag(
    columns: Columns, column: str, of_train: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    for row, text in enumerate(columns.of.get(column, ())):
        flag = FLAGS.get(text.lower())
        if flag is None:
            what = f"{column} {printable(text)!r}"
            raise wrong(columns.path, columns.where(row), what, "1, 0, true, false or nothing")
        if flag != UNKNOWN and of_train[row] != UNKNOWN:
            yield int(of_train[row]), flag
