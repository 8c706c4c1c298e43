"""WebVision 1.0: 2.4 million images that Google and Flickr found for the 1,000 words of ImageNet.

    DIR/info/train_filelist_google.txt, train_filelist_flickr.txt     lines `path label`, below DIR
    DIR/info/val_filelist.txt      lines `file label`, below DIR/val_images_256
    DIR/info/synsets.txt           line k: the WordNet id and the words of class k

mini-WebVision is the Google part alone, of the first 50 classes: 65,944 images to train on, 2,500
to test on. Others count 61,234, or more than 100,000 with Flickr.

Source: Li et al., "WebVision Database", 2017, and its release; Jiang et al., "MentorNet", ICML
2018, section 5.4, for the mini set.
"""

from pathlib import Path

from curvetune.data.tables.lines import labelled, lines_of
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import Table
from curvetune.errors import DataError, printable

NUM_CLASSES, MINI = 1000, 50
GOOGLE, FLICKR = "info/train_filelist_google.txt", "info/train_filelist_flickr.txt"
VAL, SYNSETS, VAL_FOLDER = "info/val_filelist.txt", "info/synsets.txt", "val_images_256"
BELOW = ("webvision", "WebVision")  # folders in which it may lie


def is_here(data_dir: Path) -> bool:
    """Say whether a folder has both parts."""
    return folder_with(data_dir, FLICKR, BELOW) is not None


def is_mini_here(data_dir: Path) -> bool:
    """Say whether a folder has the Google part."""
    return folder_with(data_dir, GOOGLE, BELOW) is not None


def read(data_dir: Path) -> Table:
    """Return the rows of both parts.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    return _read("webvision", data_dir, (GOOGLE, FLICKR), NUM_CLASSES)


def read_mini(data_dir: Path) -> Table:
    """Return the rows of the first 50 classes of the Google part.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    return _read("webvision_mini", data_dir, (GOOGLE,), MINI)


def _read(name: str, data_dir: Path, lists: tuple[str, ...], classes: int) -> Table:
    needed = (*lists, VAL, SYNSETS)
    folder = folder_with(data_dir, GOOGLE, BELOW)
    missing = [file for file in needed if folder is None or not (folder / file).is_file()]
    if folder is None or missing:
        wanted = f"DIR with {', '.join(needed)} and {VAL_FOLDER}/"
        raise not_there(name, data_dir, f"{wanted}; {missing[0]} is missing")
    names = [text for _, text in lines_of(folder / SYNSETS)]
    if len(names) < classes:
        raise DataError(
            f"{printable(folder / SYNSETS)}: {len(names)} lines; allowed are {NUM_CLASSES}, one "
            f"for each class: copy it again"
        )
    train, test = Rows(), Rows()
    for path in lists:
        for _, file, label in labelled(folder / path, NUM_CLASSES):
            if label < classes:
                train.add(file, label)
    for _, file, label in labelled(folder / VAL, NUM_CLASSES):
        if label < classes:
            test.add(f"{VAL_FOLDER}/{file}", label)
    return table_of_files(folder, names[:classes], train, test)
