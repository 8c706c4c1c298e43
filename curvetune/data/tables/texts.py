"""Many short texts, such as the names of a million files, in one block of memory."""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Texts:
    """Texts by position. A million names of 40 letters take 48 MB, and as a list 100 MB."""

    def __init__(self, texts: Iterable[str]) -> None:
        block, ends = bytearray(), array("q", [0])  # grown, since a list of them takes three times
        for text in texts:
            block += text.encode("utf-8", "surrogateescape")  # as file names are
            ends.append(len(block))
        self._block = bytes(block)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: int) -> str:
        start, end = self._ends[position], self._ends[position + 1]
        return self._block[start:end].decode("utf-8", "surrogateescape")

    def chosen(self, positions: NDArray[np.int64]) -> "Texts":
        """Return some of them, in the order of `positions`."""
        return Texts(self[int(k)] for k in positions)
