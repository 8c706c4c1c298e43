"""ImageNet-LT: 115,846 images of ImageNet's 1,000 classes, from 1,280 down to 5 of a class.

    DIR/ImageNet_LT_train.txt, ImageNet_LT_test.txt     lines `train/n01440764/….JPEG 0`, below DIR

The lists may be in DIR/ImageNet_LT. Its 20,000 images to validate are not read.

Source: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019; repository
zhmiao/OpenLongTailRecognition-OLTR.
"""

from pathlib import Path

from curvetune.data.tables.lines import labelled, wrong
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import Table
from curvetune.errors import DataError, printable

NUM_CLASSES = 1000
TRAIN, TEST = "ImageNet_LT_train.txt", "ImageNet_LT_test.txt"
WANTED = f"DIR with {TRAIN}, {TEST} and ImageNet's folders train/ and val/"
BELOW = ("ImageNet_LT",)  # folders in which it may lie


def is_here(data_dir: Path) -> bool:
    """Say whether a folder looks like one of these."""
    return folder_with(data_dir, TRAIN, BELOW) is not None


def read(data_dir: Path) -> Table:
    """Return the rows.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    lists = folder_with(data_dir, TRAIN, BELOW)
    if lists is None or not (lists / TEST).is_file():
        raise not_there("imagenet_lt", data_dir, WANTED)
    train, test = Rows(), Rows()
    wnids: dict[int, str] = {}
    for line, file, label in labelled(lists / TRAIN, NUM_CLASSES):
        wnid = Path(file).parent.name
        if wnids.setdefault(label, wnid) != wnid:
            what = f"class {label} is {wnids[label]} above and {printable(wnid)} here"
            raise wrong(lists / TRAIN, line, what, "one folder of ImageNet for each class")
        train.add(file, label)
    for _, file, label in labelled(lists / TEST, NUM_CLASSES):
        test.add(file, label)
    if len(wnids) != max(wnids, default=-1) + 1:
        raise DataError(
            f"{printable(lists / TRAIN)}: {len(wnids)} classes, up to label {max(wnids, default=0)}"
            f"; allowed is an image of each class: download it again"
        )
    return table_of_files(data_dir, [wnids[k] for k in sorted(wnids)], train, test)
