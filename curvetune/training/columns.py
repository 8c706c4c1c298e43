"""Matrices (N, T) that are recorded a column at a time, in files: memory need hold none of them.

A file has the matrix by column, so that an epoch writes one piece of it. A checkpoint keeps the
checksum of each column; a file that does not have them is not gone on with.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curvetune.errors import CorruptError
from curvetune.store.names import COLUMNS

Sums = dict[str, list[str]]


@dataclass
class Columns:
    """The matrices of one run, and the checksums of their columns so far."""

    folder: Path
    sums: Sums = field(default_factory=dict)

    def begin(self, name: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """Return a new matrix, (rows, columns), whose columns are to be filled in order."""
        self.sums[name] = []
        path = self._path(name)
        path.unlink(missing_ok=True)
        return _mapped(path, "w+", rows, columns, dtype)

    def resume(
        self, name: str, rows: int, columns: int, dtype: torch.dtype, sums: list[str]
    ) -> Tensor:
        """Return the matrix whose first columns have these checksums.

        Raises:
            CorruptError: it is not there, or not what they say.
        """
        path = self._path(name)
        try:
            matrix = _mapped(path, "r+", rows, columns, dtype)
        except (OSError, ValueError) as error:
            raise CorruptError(f"{path}: cannot be read ({error})") from None
        if [_sum(matrix[:, k]) for k in range(len(sums))] != sums:
            raise CorruptError(f"{path}: its content is not what its checksums say")
        self.sums[name] = list(sums)
        return matrix

    def filled(self, name: str, column: Tensor) -> None:
        """Note that the next column of a matrix, (rows,), is what it will be."""
        self.sums[name].append(_sum(column))

    def remove(self) -> None:
        """Delete the files of a run that is done."""
        for path in self.folder.glob(f"*{COLUMNS}"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{COLUMNS}"


def _mapped(path: Path, mode: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    by_column = np.memmap(path, kind, mode, shape=(columns, rows))  # type: ignore[call-overload]
    return torch.from_numpy(by_column).T


def _sum(column: Tensor) -> str:
    return hashlib.sha256(column.numpy().data).hexdigest()
