"""The history of a run: one JSON object per finished epoch, one to a line.

Each epoch appends a line, so that T epochs write T lines and not T²/2. A reader may come in the
middle of a line, and a killed writer may leave half of one: what has no line end is not read, and
is gone with the next append.
"""

import json
import time
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from curvetune.store.files import cannot_write, write_atomic
from curvetune.store.plain import read_plain
from curvetune.store.remote.paths import mirror_of

PUT_S = 5.0  # between two writings of a history to an object store

HistoryRow = dict[str, Any]


def read_rows(path: Path) -> list[HistoryRow]:
    """Return the rows of a history file; none if it is not there.

    Raises:
        ValueError: it is damaged, or something else than a file.
    """
    try:
        rows = [json.loads(line) for line in read_plain(path).split(b"\n")[:-1]]
    except FileNotFoundError:
        return []
    except (OSError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: a line is no JSON object")
    return rows


def write_rows(path: Path, rows: list[HistoryRow], *, durable: bool = False) -> None:
    """Replace a history file by `rows`."""
    write_atomic(path, b"".join(map(_line, rows)), durable=durable)


class History:
    """The rows of one run, in a list and in a file.

    The first row replaces the file, and later ones go to the file that this made. So what an
    earlier run left beyond its checkpoint is gone, and two runs of the same probe never mix their
    rows: the later one to begin is the one that is seen, until one of them ends.
    """

    def __init__(self, path: Path, rows: list[HistoryRow]) -> None:
        """Take the rows of the epochs that are finished; new ones are appended to this list."""
        self._path = path
        self._rows = rows
        self._file: FileIO | None = None
        self._is_mirrored = mirror_of(path) is not None
        self._put_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def append(self, row: HistoryRow) -> None:
        """Add a row, without waiting for the disk: it may be lost if the machine stops.

        Raises:
            ValueError: a number is not finite.
            StorageError: it cannot be written.
        """
        line = _line(row)
        self._rows.append(row)
        if self._is_mirrored:
            self._put_now_and_then()
            return
        if self._file is None:
            write_rows(self._path, self._rows)
            self._file = FileIO(self._path, "ab")
            return
        try:
            while line:  # a disk that fills up takes a part and then refuses the rest
                line = line[self._file.write(line) :]
        except OSError as error:
            raise cannot_write(self._path, error, len(line)) from error

    def keep(self) -> None:
        """Write all rows, wherever they were, and wait for the disk.

        Raises:
            StorageError: it cannot be written.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
        write_rows(self._path, self._rows, durable=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; at the end of a whole run, make it this run's and wait for the disk."""
        if self._file is not None:
            self._file.close()
        if kind is None:
            write_rows(self._path, self._rows, durable=True)

    def _put_now_and_then(self) -> None:
        """Write all rows to an object store, which cannot append, at the first and then seldom."""
        if self._put_at is None or time.monotonic() - self._put_at >= PUT_S:
            write_rows(self._path, self._rows)
            self._put_at = time.monotonic()


def _line(row: HistoryRow) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"
