"""scikit-learn's 1,797 handwritten digits of 8×8 pixels: no download, a probe in a minute.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its
test set). The file inside the installed scikit-learn is read with NumPy: importing scikit-learn
takes seconds that planning must not pay.
"""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.errors import DataError

NUM_CLASSES = 10
# The test set is the last images of each class in file order: the file has no split of its own.
TEST_PER_CLASS = 50
# Mean and standard deviation of the raw pixels, 0 to 16, of the 1,297 training images.
MEAN, STD = (4.8919,), (6.0080,)


def load(data_dir: Path | None) -> Dataset:
    """Return the digits; `data_dir` is not looked at, since scikit-learn brings them."""
    rows = _rows()
    y = rows[:, -1].astype(np.int64)
    x = rows[:, :-1].reshape(-1, 1, 8, 8)
    test = _is_test(y)
    return Dataset(
        name="digits",
        train=Images(x[~test], y[~test]),
        test=Images(x[test], y[test]),
        class_names=tuple(str(k) for k in range(NUM_CLASSES)),
        mean=MEAN,
        std=STD,
        pad=1,  # of 8 pixels, as CIFAR's 4 of 32
        flip=False,  # a mirrored digit is another sign
        white=16,
    )


def train_labels(data_dir: Path | None) -> NDArray[np.int64]:
    """Return the labels of the training images, (1297,)."""
    y = _rows()[:, -1].astype(np.int64)
    return y[~_is_test(y)]


def sizes(data_dir: Path | None) -> ClassSizes:
    """Return how many images of each class there are."""
    y = _rows()[:, -1].astype(np.int64)
    test = _is_test(y)
    return ClassSizes.of(y[~test], y[test], NUM_CLASSES)


def digest(data_dir: Path | None) -> str:
    """Return the SHA-256 of scikit-learn's file."""
    return hashlib.sha256(_file().read_bytes()).hexdigest()


def _rows() -> NDArray[np.uint8]:
    """Return the file's rows, (1797, 65): 64 pixels and the label."""
    return np.loadtxt(_file(), delimiter=",", dtype=np.uint8)


def _is_test(y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each image whether it belongs to the test set, (1797,)."""
    test = np.zeros(len(y), dtype=bool)
    for k in range(NUM_CLASSES):
        test[np.flatnonzero(y == k)[-TEST_PER_CLASS:]] = True
    return test


def _file() -> Path:
    found = importlib.util.find_spec("sklearn")  # does not import it
    if found is None or found.origin is None:
        raise DataError("data digits: scikit-learn is not installed; pip install scikit-learn")
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        raise DataError(
            f"data digits: this scikit-learn has no {file}; allowed is version 1.6 or later, "
            f"pip install --upgrade scikit-learn"
        )
    return file
