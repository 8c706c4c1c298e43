"""Encoded images in a column of Parquet files, read a few rows at a time.

A row group may be a whole file of a gigabyte. So rows are read in small batches, and who reads on
where the last call ended goes on in the same pass. What lies before is read from its row group on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curvetune.data.pixels import Positions
from curvetune.data.tables.encoded import runs
from curvetune.errors import DataError, printable

BATCH = 64  # rows of a pass that are in memory at once
IDLE = 8  # passes that are kept: as many threads read at once


class ParquetRows:
    """The images of one column of several files, in their order.

    Args:
        files: relative to the folder.
        sizes: rows of each file.
        column: bytes, or a struct with the field bytes and perhaps path.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], sizes: Sequence[int], column: str
    ) -> None:
        self._folder, self._files, self._column = folder, tuple(files), column
        self._ends = np.cumsum([0, *sizes], dtype=np.int64)
        self._passes = _Passes()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_passes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _passes=_Passes())

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, position: int) -> str:
        """Return the file and the row in it, from 0."""
        k = self._file_of(position)
        return f"{self._files[k]}:{position - int(self._ends[k])}"

    def suffix(self, position: int) -> str:
        """Return nothing: a row has no name of its own that could be wrong."""
        return ""

    def files(self) -> Iterator[Path]:
        """Yield the files."""
        yield from (self._folder / file for file in self._files)

    def read(self, positions: Positions) -> Sequence[bytes]:
        """Return the bytes of some rows.

        Raises:
            DataError: a file is bad, or a row has no bytes.
        """
        which = np.searchsorted(self._ends, positions, side="right") - 1
        found: list[bytes] = []
        for run in runs(which):
            k = int(which[run.start])
            try:
                found += self._rows(k, (positions[run] - self._ends[k]).tolist())
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{printable(self._folder / self._files[k])}: cannot be read as Parquet "
                    f"({printable(error)}); copy or download it again"
                ) from None
        return found

    def _rows(self, k: int, rows: list[int]) -> list[bytes]:
        by_row: dict[int, bytes] = {}
        for row in sorted(set(rows)):
            content = self._at(k, row)
            if content is None:
                raise DataError(
                    f"{printable(self._folder / self._files[k])}: row {row} has no bytes in "
                    f"{printable(self._column)}; allowed are images in the file itself: write it "
                    f"again with embed_external_files=True"
                )
            by_row[row] = content
        return [by_row[row] for row in rows]

    def _at(self, k: int, row: int) -> bytes | None:
        """Return one row, on from an earlier pass that is still before it."""
        going = self._passes.taken(k, row)
        if going is None:
            going = _Pass(self._folder / self._files[k], k, row, self._column)
        content = going.at(row)
        self._passes.keep(going)
        return content

    def _file_of(self, position: int) -> int:
        return int(np.searchsorted(self._ends, position, side="right")) - 1


class _Passes:
    """The passes that nobody is reading on just now: one for each of several threads."""

    def __init__(self) -> None:
        self._idle: list[_Pass] = []
        self._lock = Lock()

    def taken(self, file: int, row: int) -> "_Pass | None":
        """Return the pass that is nearest before a row, for the caller alone; None without one."""
        with self._lock:
            near = [one for one in self._idle if one.reaches(file, row)]
            if not near:
                return None
            best = max(near, key=lambda one: one.start)
            self._idle.remove(best)
            return best

    def keep(self, one: "_Pass") -> None:
        """Take a pass back, and let the oldest go."""
        with self._lock:
            self._idle = [*self._idle, one][-IDLE:]


class _Pass:
    """A pass over a file from the row group of `row` on."""

    def __init__(self, path: Path, file: int, row: int, column: str) -> None:
        self.file = file
        self._opened = pq.ParquetFile(path)
        sizes = [
            self._opened.metadata.row_group(g).num_rows for g in range(self._opened.num_row_groups)
        ]
        self._groups = np.cumsum([0, *sizes])
        first = int(np.searchsorted(self._groups, row, side="right")) - 1
        self.start = self._end = int(self._groups[first])
        self._batch: pa.Array | None = None
        self._batches: Iterator[pa.RecordBatch] = self._opened.iter_batches(
            BATCH, row_groups=range(first, len(sizes)), columns=[column]
        )

    def reaches(self, file: int, row: int) -> bool:
        """Say whether a row is to come, and not in a later row group, which could be skipped to."""
        if file != self.file or row < self.start:
            return False
        later = np.searchsorted(self._groups, [max(self._end - 1, 0), row], side="right")
        return bool(row < self._end or later[1] - later[0] <= 1)

    def at(self, row: int) -> bytes | None:
        """Return the bytes of a row that is to come, None if it has none."""
        while row >= self._end:
            column = next(self._batches).column(0)
            self._batch = column.field("bytes") if pa.types.is_struct(column.type) else column
            self.start, self._end = self._end, self._end + len(column)
        assert self._batch is not None
        content: bytes | None = self._batch[row - self.start].as_py()
        return content
