"""Controlled noisy web labels, red and blue mini-ImageNet, with a chosen share of wrong labels.

    DIR/split/red_noise_nl_0.4, blue_noise_nl_0.4, …   lines `name.jpg label`, in DIR/all_images
    DIR/split/clean_validation     the test set, in DIR/validation or DIR/validation/<label>
    DIR/class_name.txt             optional: line k is the name of class k
    DIR/mini-imagenet-annotations.json                 optional, here or in the folder above

DIR may be called mini-imagenet. The share is `data.variant`. Names that begin with `n` are
ImageNet's, whose labels are right. Others are of the web: the annotations say which of those are
right; without them nobody knows. They call some right that the lists count as noise.

Source: Jiang et al., "Beyond Synthetic Noise", ICML 2020, and its release.
"""

import json
from pathlib import Path

from curvetune.config.data import NOISE_LEVELS
from curvetune.data.tables.lines import labelled, lines_of
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import ANOTHER, Table
from curvetune.errors import DataError, printable

NUM_CLASSES = 100
ANNOTATIONS = "mini-imagenet-annotations.json"
TEST = "split/clean_validation"
BELOW = ("mini-imagenet", "dataset_no_images/mini-imagenet")


def read(data_dir: Path, colour: str, level: str | None) -> Table:
    """Return the rows of one colour and share.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    name = f"cnwl_{colour}"
    if level is None:
        raise DataError(
            f"data.name={name}: the share of wrong labels is not given; allowed are "
            f"{', '.join(NOISE_LEVELS)}: --set data.variant=0.4"
        )
    folder = folder_with(data_dir, TEST, BELOW)
    chosen = f"split/{colour}_noise_nl_{level}"
    if folder is None or not (folder / chosen).is_file():
        lacks = TEST if folder is None else chosen
        wanted = f"DIR with {chosen}, {TEST}, all_images/ and validation/"
        raise not_there(name, data_dir, f"{wanted}; {lacks} is missing")
    is_right = _annotations(folder)
    train, test = Rows(), Rows()
    for _, file, label in labelled(folder / chosen, NUM_CLASSES):
        right = file.startswith("n") or is_right.get((file.partition(".")[0], label))
        if right is not None:
            train.y_true[len(train)] = label if right else ANOTHER
        train.add(f"all_images/{file}", label)
    for _, file, label in labelled(folder / TEST, NUM_CLASSES):
        flat, deep = f"validation/{file}", f"validation/{label}/{file}"
        test.add(deep if (folder / deep).exists() else flat, label)
    return table_of_files(folder, _names(folder), train, test)


def has(data_dir: Path, name: str, level: str) -> bool:
    """Say whether a folder has the list of a colour and share."""
    folder = folder_with(data_dir, TEST, BELOW)
    listed = f"split/{name.removeprefix('cnwl_')}_noise_nl_{level}"
    return folder is not None and (folder / listed).is_file()


def _names(folder: Path) -> list[str]:
    path = folder / "class_name.txt"
    names = [text for _, text in lines_of(path)] if path.exists() else []
    if names and len(names) != NUM_CLASSES:
        raise DataError(
            f"{printable(path)}: {len(names)} lines; allowed are {NUM_CLASSES}, one for each "
            f"class: copy it again, or remove it"
        )
    return names or [str(k) for k in range(NUM_CLASSES)]


def _annotations(folder: Path) -> dict[tuple[str, int], bool]:
    """Return whether a label of an image, by its id, is right; nothing without annotations.

    Raises:
        DataError: the file has another form.
    """
    path = next(
        (p / ANNOTATIONS for p in (folder, folder.parent) if (p / ANNOTATIONS).is_file()), None
    )
    if path is None:
        return {}
    try:
        rows = [row for group in json.loads(path.read_bytes())["data"] for row in group]
        return {
            (str(row["image/id"]), int(row["image/class/label"])): bool(
                row["image/class/label/is_clean"]
            )
            for row in rows
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{printable(path)}: is not as it was published ({type(error).__name__}: "
            f"{printable(error)}); allowed is data, a list of lists of rows with image/id, "
            f"image/class/label and image/class/label/is_clean: download it again, or remove it"
        ) from None
