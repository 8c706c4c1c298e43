"""Food-101N: 310,009 web images of 101 dishes, of which 57,609 were verified to be right or wrong.

    DIR/Food-101N_release/images/<class>/<hash>.jpg
    DIR/Food-101N_release/meta/classes.txt, imagelist.tsv, verified_train.tsv, verified_val.tsv
    DIR/food-101/images/<class>/<number>.jpg     the test set: another download, Food-101's own
    DIR/food-101/meta/test.txt                   25,250 lines class/number, without .jpg

A verification says that a label is right or wrong, and never the true class. The clean set is what
verified_val says is right; it is not trained on. Testing on verified_val is a common mistake. One
hash is in two classes, so an image is known by class/hash. One image of verified_train is under
another class in imagelist: what is not in imagelist is not used.

Source: Lee et al., "CleanNet", CVPR 2018, and the release; Bossard et al., ECCV 2014 (Food-101).
"""

from collections.abc import Iterator
from pathlib import Path

from curvetune.data.tables.lines import inside, lines_of, wrong
from curvetune.data.tables.rows import Rows, folder_with, not_there, table_of_files
from curvetune.data.tables.table import ANOTHER, Table

RELEASE, TEST_SET = "Food-101N_release", "food-101"
WANTED = (
    f"DIR/{RELEASE} with images/ and meta/imagelist.tsv, and beside it DIR/{TEST_SET} with images/ "
    f"and meta/test.txt: the test set is that of Food-101, a download of its own"
)
IMAGES_HEADER = "class_name/key"


def is_here(data_dir: Path) -> bool:
    """Say whether a folder looks like one of these."""
    return folder_with(data_dir, "meta/imagelist.tsv", (RELEASE,)) is not None


def read(data_dir: Path) -> Table:
    """Return the rows.

    Raises:
        DataError: it is not there, or a list is not as it should be.
    """
    release = folder_with(data_dir, "meta/imagelist.tsv", (RELEASE,))
    tested = folder_with(data_dir, "meta/test.txt", (TEST_SET, "Food-101"))
    if release is None or tested is None:
        lacks = "meta/imagelist.tsv" if release is None else f"{TEST_SET}/meta/test.txt"
        raise not_there("food101n", data_dir, f"{WANTED}; {lacks} is missing")
    names = [text for _, text in _rows_below(release / "meta/classes.txt", "class_name")]
    number = {name: k for k, name in enumerate(names)}
    flags = _flags(release / "meta/verified_train.tsv")
    checked = _flags(release / "meta/verified_val.tsv")
    right = {key for key, flag in checked.items() if flag}
    place, train, clean = _within(data_dir, release), Rows(), Rows()
    path = release / "meta/imagelist.tsv"
    for line, key in _rows_below(path, IMAGES_HEADER):
        label, file = _class(path, line, key, number), f"{place}images/{key}"
        if key in right:
            clean.add(file, label)
            continue
        flag = flags.get(key, checked.get(key))
        if flag is not None:
            train.verified[len(train)] = flag
            train.y_true[len(train)] = label if flag else ANOTHER
        train.add(file, label)
    test, path, place = Rows(), tested / "meta/test.txt", _within(data_dir, tested)
    for line, key in lines_of(path):
        file = key if key.endswith(".jpg") else f"{key}.jpg"
        test.add(f"{place}images/{file}", _class(path, line, key, number))
    return table_of_files(data_dir, names, train, test, clean)


def _within(data_dir: Path, folder: Path) -> str:
    return "" if folder == data_dir else f"{folder.relative_to(data_dir).as_posix()}/"


def _rows_below(path: Path, header: str) -> Iterator[tuple[int, str]]:
    """Yield the lines below the first one, which has to be the header.

    Raises:
        DataError: it is another one.
    """
    for line, text in lines_of(path):
        if line > 1:
            yield line, text
        elif text.split("\t")[0] != header:
            raise wrong(path, line, f"{text!r} is no header", f"{header!r} in the first line")


def _flags(path: Path) -> dict[str, int]:
    """Return what was verified, 1 for right and 0 for wrong, by class/hash.

    Raises:
        DataError: a line has another form.
    """
    found: dict[str, int] = {}
    for line, text in _rows_below(path, IMAGES_HEADER):
        key, _, flag = text.rpartition("\t")
        if flag not in ("0", "1") or not key:
            raise wrong(path, line, f"{text!r}", "class/key, a tab, and 0 or 1")
        found[key] = int(flag)
    return found


def _class(path: Path, line: int, key: str, number: dict[str, int]) -> int:
    name = inside(path, line, key).partition("/")[0]
    if name not in number:
        raise wrong(path, line, f"{key!r} is of no class", "class/key with a class of classes.txt")
    return number[name]
