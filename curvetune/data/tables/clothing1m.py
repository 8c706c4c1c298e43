"""Clothing1M: 1,000,000 images with labels of shops; clean: 14,313 to validate, 10,526 to test.

    DIR/images/0/…                 DIR/category_names_eng.txt, 14 lines
    DIR/noisy_label_kv.txt         lines `path label`, and clean_label_kv.txt
    DIR/noisy_train_key_list.txt   paths, and clean_val_key_list.txt, clean_test_key_list.txt

The lists may be in annotations/. The validation images are the clean set. The 47,570 clean training
images are not read, as in every published comparison that says "without clean data". Where an image
to train on has a clean label too, that is its true label.

Source: Xiao et al., CVPR 2015, and its release; Shu et al., NeurIPS 2019, for the clean set.
"""

from pathlib import Path

from curvetune.data.tables.lines import label_of, labelled, lines_of, paths_of
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import Table
from curvetune.errors import DataError, printable

CLASSES, NOISY, CLEAN = "category_names_eng.txt", "noisy_label_kv.txt", "clean_label_kv.txt"
TRAIN, VAL, TEST = (f"{name}_key_list.txt" for name in ("noisy_train", "clean_val", "clean_test"))
NUM_CLASSES = 14
WANTED = f"DIR with images/, {CLASSES}, {NOISY}, {CLEAN}, {TRAIN}, {VAL} and {TEST}"
BELOW = ("annotations",)  # folders in which it may lie


def is_here(data_dir: Path) -> bool:
    """Say whether a folder looks like one of these."""
    return folder_with(data_dir, CLASSES, BELOW) is not None


def read(data_dir: Path) -> Table:
    """Return the rows.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    lists = folder_with(data_dir, CLASSES, BELOW)
    if lists is None:
        raise not_there(
            "clothing1m", data_dir, f"{WANTED}; the lists may be in annotations/{_hint(data_dir)}"
        )
    missing = [name for name in (NOISY, CLEAN, TRAIN, VAL, TEST) if not (lists / name).is_file()]
    if missing:
        raise not_there("clothing1m", data_dir, f"{WANTED}; {', '.join(missing)} is missing")
    names = [text for _, text in lines_of(lists / CLASSES)]
    if len(names) != NUM_CLASSES:
        raise DataError(
            f"{printable(lists / CLASSES)}: {len(names)} lines; allowed are {NUM_CLASSES}, the "
            f"names of the classes: copy it again"
        )
    clean = _labels(lists / CLEAN)
    train = _rows(lists / TRAIN, lists / NOISY, _labels(lists / NOISY))
    train.y_true = {k: clean[file] for k, file in enumerate(train.files) if file in clean}
    val, test = (_rows(lists / name, lists / CLEAN, clean) for name in (VAL, TEST))
    return table_of_files(data_dir, names, train, test, val)


def _labels(path: Path) -> dict[str, int]:
    return {file: label for _, file, label in labelled(path, NUM_CLASSES)}


def _rows(keys: Path, list_: Path, labels: dict[str, int]) -> Rows:
    rows = Rows()
    for line, file in paths_of(keys):
        rows.add(file, label_of(labels, file, (keys, line), list_))
    return rows


def _hint(data_dir: Path) -> str:
    if not (data_dir / "noisy_train").is_dir():
        return ""
    return (
        "; folders noisy_train/ and clean_test/ without lists are read as data.name=folder once "
        "they are called train/ and test/"
    )
