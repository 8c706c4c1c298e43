"""What a source of any size lists, with no image decoded: a row for each image.

Nothing here imports PyTorch or Ray.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvetune.data.pixels import Encoded

UNKNOWN = -1
ANOTHER = -2  # a true label that is known to be another one than the given, and no more


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a data set: those to train on, then those to test on."""

    encoded: Encoded  # (N + N_test,)
    train: int  # N
    y: NDArray[np.int64]  # (N + N_test,), given labels
    class_names: tuple[str, ...]  # (K,)
    # What some sets know beside, of the rows to train on; None where a set knows nothing of it
    y_true: NDArray[np.int64] | None = None  # (N,), or UNKNOWN, or ANOTHER
    verified: NDArray[np.int8] | None = None  # (N,), 1: the label is right, 0: wrong, UNKNOWN
    clean: NDArray[np.int64] | None = None  # positions of the rows that are a clean set
