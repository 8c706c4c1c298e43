"""Data sets of image files, written anew: class folders, lists, and public sets as a list."""

import csv
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from curvetune.cleaning.change import Change
from curvetune.cleaning.rows import Rewriting, labels_csv_columns, list_columns
from curvetune.cleaning.target import Target
from curvetune.data.labels import Classes
from curvetune.data.labels_csv import LABELS
from curvetune.data.own.layout import TRAIN, Layout, layout_of
from curvetune.data.tables.table import ANOTHER, UNKNOWN, Table
from curvetune.errors import DataError, printable

LIST = "images.csv"


def write_class_folders(
    data_dir: Path, table: Table, changes: Mapping[int, Change], target: Target
) -> None:
    """Write folders of classes: a file whose label changes goes to the folder of its new class.

    A file that labels.csv labels stays where it is, and has another label there. Where images were
    held out, since nothing was there to test on, they go to a folder `test`: chosen anew, of what
    is left, they would be other ones.

    Raises:
        DataError: a file is in no folder of its class.
    """
    labels = data_dir / LABELS
    listed = _listed(data_dir, table, changes, target) if labels.is_file() else set[str]()
    names = [table.encoded.name(k) for k in range(len(table.encoded))]
    layout = layout_of(data_dir)
    places = names
    if layout.test is None and not labels.is_file():
        places = [_with_part(name, layout, k < table.train) for k, name in enumerate(names)]
    taken = set(places)
    for k, (name, place) in enumerate(zip(names, places, strict=True)):
        change = changes.get(k)
        if change is None or name in listed:
            if change is None or change.new is not None:
                target.take(name, place)
        elif change.new is not None:
            target.take(name, _moved(place, change.old, change.new, table.class_names, taken))


def write_list(path: Path, table: Table, changes: Mapping[int, Change], target: Target) -> None:
    """Write a list without some of its rows, and with other labels in some; and its files."""
    _rewriting(table, changes).write(path, target.path(path.name), list_columns)
    for k in range(len(table.encoded)):
        if (change := changes.get(k)) is None or change.new is not None:
            target.take(table.encoded.name(k))


def write_as_list(table: Table, changes: Mapping[int, Change], target: Target) -> None:
    """Write files with a list of them, as data.name=list reads it, whatever form they came in."""
    names = table.class_names
    clean = set() if table.clean is None else set(table.clean.tolist())
    with target.path(LIST).open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["path", "label", "split", "true_label", "verified", "clean"])
        for k, y in enumerate(table.y.tolist()):
            change = changes.get(k)
            if change is not None and change.new is None:
                continue
            name = table.encoded.name(k)
            target.take(name)
            label = names[y if change is None or change.new is None else change.new]
            split = "train" if k < table.train else "test"
            out.writerow([name, label, split, *_known(table, k, clean, is_new=change is not None)])


def _known(table: Table, k: int, clean: set[int], *, is_new: bool) -> tuple[str, str, str]:
    """Return what a list says of an image beside its label: true label, verified and clean."""
    if k >= table.train:
        return "", "", ""
    true = UNKNOWN if table.y_true is None else int(table.y_true[k])
    flag = UNKNOWN if table.verified is None or is_new else int(table.verified[k])
    said = "" if true in (UNKNOWN, ANOTHER) else table.class_names[true]
    return said, "" if flag == UNKNOWN else str(flag), "1" if k in clean and not is_new else ""


def _with_part(name: str, layout: Layout, is_train: bool) -> str:
    """Return where a file is that `train` or `test` has, in place of a folder that has both."""
    inner = PurePosixPath(name)
    if layout.train is not None:
        inner = inner.relative_to(layout.train)
    return str(PurePosixPath("train" if is_train else "test", inner))


def _listed(
    data_dir: Path, table: Table, changes: Mapping[int, Change], target: Target
) -> set[str]:
    """Write labels.csv anew, and return the files that it labels."""
    from curvetune.data.labels_csv import on_disk, read_rows

    written = target.path(LABELS)
    _rewriting(table, changes).write(data_dir / LABELS, written, labels_csv_columns)
    return {row.file for row in on_disk(data_dir, read_rows(data_dir / LABELS))}


def _rewriting(table: Table, changes: Mapping[int, Change]) -> Rewriting:
    names = [table.encoded.name(k) for k in range(len(table.encoded))]
    y = dict(zip(names[: table.train], table.y[: table.train].tolist(), strict=True))
    new = {names[k]: one.new for k, one in changes.items()}
    return Rewriting(table.class_names, y, new, names[table.train :])


def _moved(name: str, old: int, new: int, class_names: tuple[str, ...], taken: set[str]) -> str:
    """Return where a file goes whose class changes: the same place in the folder of its new one."""
    parts = list(PurePosixPath(name).parts)
    classes = Classes(class_names)
    first = 1 if parts[0].lower() in TRAIN else 0  # a class may be called as the part is
    for k, part in enumerate(parts[first:-1], first):
        if classes.find(part) == old:
            parts[k] = class_names[new]
            break
    else:
        raise DataError(
            f"{printable(name)}: it is in no folder called {printable(class_names[old])}, so it "
            f"cannot go to that of {printable(class_names[new])}; label it in {LABELS}"
        )
    moved = PurePosixPath(*parts)
    for number in range(2, len(taken) + 3):
        if str(moved) not in taken:
            break
        moved = moved.with_name(f"{PurePosixPath(name).stem}-{number}{moved.suffix}")
    taken.add(str(moved))
    return str(moved)
