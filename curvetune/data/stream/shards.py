"""The pixels of all rows of a table, as shards on this machine; what has no room is decoded anew.

It can be sent to another machine: there the shards are opened, or made, when they are needed.
"""

import hashlib
import logging
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from curvetune.data import duplicates
from curvetune.data.decode import VERSION, BadImageError, Decoded, decode
from curvetune.data.pixels import Encoded, Positions
from curvetune.data.stream import disk
from curvetune.data.stream.ahead import each
from curvetune.data.stream.shard import Shard, Verdict, checksum
from curvetune.errors import DataError, printable

SHARD_BYTES, MOST_ROWS = 64_000_000, 4096  # of pixels in a shard; rows, so that few are held open
MARK_BYTES = 8  # of an image's SHA-256, to tell that it is still the same
NONE = np.empty(0, np.int64)
MISSING = bytes(32)  # instead of the SHA-256 of an image that cannot be read

logger = logging.getLogger(__name__)


def rows_in_shard(size: int) -> int:
    """Return how many images of a size go into a shard."""
    return max(1, min(MOST_ROWS, SHARD_BYTES // (3 * size * size)))


def address_of(encoded: Encoded, rows: Positions, sums: Sequence[bytes], size: int) -> str:
    """Return what a shard is called: all that decides its pixels and verdicts.

    Pillow's version is in it, since another one may decode a JPEG another way.
    """
    parts = [f"{VERSION} {PIL.__version__} {size}"]
    parts += [
        f"{found.hex()}{encoded.suffix(row)}"
        for row, found in zip(rows.tolist(), sums, strict=True)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def decoded(encoded: Encoded, row: int, content: bytes, size: int) -> Decoded | str:
    """Return an image, or why it cannot be used."""
    # For good: what is put back at the end of a block, another thread may have put there
    warnings.filterwarnings("ignore", module=r"PIL\.")  # on what it reads all the same
    try:
        return decode(content, encoded.suffix(row), size)
    except BadImageError as error:
        return printable(error)


def make(
    encoded: Encoded, rows: Positions, marks: NDArray[np.uint8], size: int
) -> tuple[NDArray[np.uint8], list[Verdict]]:
    """Decode some rows; a bad image is black, and its verdict says why it is bad.

    Args:
        marks: what the SHA-256 of each begins with, (n, MARK_BYTES).

    Raises:
        DataError: an image is not what it was.
    """
    x = np.zeros((len(rows), 3, size, size), np.uint8)
    first = int(rows[0])

    def one(row: int, content: bytes | DataError) -> Verdict:
        found, verdict = judge(encoded, row, content, marks[row - first].tobytes(), size)
        if found is not None:
            x[row - first] = found
        return verdict

    return x, list(each(encoded, rows, one))


def judge(
    encoded: Encoded, row: int, content: bytes | DataError, mark: bytes, size: int
) -> tuple[NDArray[np.uint8] | None, Verdict]:
    """Return an image, None if it is bad, and what became of it.

    Raises:
        DataError: it is not what it was.
    """
    if mark == MISSING[:MARK_BYTES]:
        return None, Verdict("it could not be read when it was first looked at")
    found = decoded(encoded, row, same(encoded, row, content, mark), size)
    if isinstance(found, str):
        return None, Verdict(found)
    return found.pixels, Verdict(None, found.changes, duplicates.content(found.pixels))


def same(encoded: Encoded, row: int, content: bytes | DataError, mark: bytes) -> bytes:
    """Return the bytes of a row.

    Raises:
        DataError: they cannot be read, or are not what they were.
    """
    if isinstance(content, DataError):
        raise content
    if not hashlib.sha256(content).digest().startswith(mark):
        raise DataError(
            f"{printable(encoded.name(row))} (row {row}): it changed since it was first read, and "
            f"results would be of other data than they say; put the old file back, or run the "
            f"command again, which reads it anew"
        )
    return content


def _light(found: Shard | None) -> Shard | None:
    """Return an open shard without its verdicts: of a million images they take 300 MB."""
    return None if found is None else replace(found, verdicts=())


class Shards:
    """The pixels of all rows, by row."""

    def __init__(
        self, encoded: Encoded, size: int, marks: NDArray[np.uint8], addresses: Sequence[str]
    ) -> None:
        """Open nothing yet.

        Args:
            marks: what the SHA-256 of each image begins with, (N, MARK_BYTES).
            addresses: of the shards, in order.
        """
        self.encoded, self.size = encoded, size
        self._marks, self._addresses = marks, tuple(addresses)
        self._per_shard = rows_in_shard(size)
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[int, Shard | None] = {}  # None where there was no room
        self._checked = np.zeros(len(self._marks), np.bool_)
        self._is_full = False

    def __getstate__(self) -> dict[str, Any]:
        own = ("encoded", "size", "_marks", "_addresses", "_per_shard")
        return {name: self.__dict__[name] for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._fresh()

    def __len__(self) -> int:
        return len(self._marks)

    def missing(self) -> list[int]:
        """Return the numbers of the shards that this machine does not have."""
        return [k for k, address in enumerate(self._addresses) if not disk.has(address)]

    def rows_of(self, k: int) -> Positions:
        """Return the rows of a shard."""
        start = k * self._per_shard
        return np.arange(start, min(start + self._per_shard, len(self)), dtype=np.int64)

    def judge(
        self, row: int, content: bytes | DataError
    ) -> tuple[NDArray[np.uint8] | None, Verdict]:
        """Return the image of a row that has these bytes, and what became of it.

        Raises:
            DataError: it is not what it was.
        """
        return judge(self.encoded, row, content, self._marks[row].tobytes(), self.size)

    def has_room(self, k: int) -> bool:
        """Say whether this machine has room for a shard."""
        return disk.has_room(len(self.rows_of(k)) * 3 * self.size * self.size)

    def keep(self, k: int, pixels: NDArray[np.uint8], verdicts: list[Verdict]) -> bool:
        """Take a shard that was made elsewhere; say whether it is there now."""
        return disk.keep(self._addresses[k], pixels, verdicts)

    def batches(self, batches: Sequence[Positions]) -> Generator[NDArray[np.uint8], None, None]:
        """Yield the images of each batch of rows, (B, 3, H, W).

        What is not in a shard is decoded by threads, a little ahead.

        Raises:
            DataError: an image that is to be decoded is not what it was.
        """
        kept = [self._are_kept(rows) for rows in batches]
        absent = [rows[~mask] for rows, mask in zip(batches, kept, strict=True)]
        with closing(each(self.encoded, np.concatenate([NONE, *absent]), self._decoded)) as anew:
            for rows, mask in zip(batches, kept, strict=True):
                yield self._batch(rows, mask, anew)

    def _batch(
        self, rows: Positions, kept: NDArray[np.bool_], anew: Iterator[NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        out = np.empty((len(rows), 3, self.size, self.size), np.uint8)
        which = np.where(kept, rows // self._per_shard, -1)
        for k in np.unique(which[kept]).tolist():
            places = np.flatnonzero(which == k)
            out[places] = self._mapped(k, rows[places])
        for place in np.flatnonzero(~kept):
            out[place] = next(anew)
        return out

    def _are_kept(self, rows: Positions) -> NDArray[np.bool_]:
        """Say of each row whether it is in a shard, which is made if that is possible."""
        which, place = np.unique(rows // self._per_shard, return_inverse=True)
        return np.array([self._shard(k) is not None for k in which.tolist()], np.bool_)[place]

    def _mapped(self, k: int, rows: Positions) -> NDArray[np.uint8]:
        """Return some rows of a shard; a damaged one is made again first."""
        for _ in range(2):
            if (found := self._shard(k)) is None:  # it was damaged, and now there is no room
                return np.stack(list(each(self.encoded, rows, self._decoded)))
            x, damaged = self._taken(k, found, rows)
            if not damaged:
                return x
            self._mend(k, found, damaged[0])
        raise DataError(
            f"{disk.folder()}: {printable(self.encoded.name(damaged[0]))} is damaged there as "
            f"soon as it is written; set CURVETUNE_CACHE to a folder on a sound disk"
        )

    def _taken(self, k: int, found: Shard, rows: Positions) -> tuple[NDArray[np.uint8], list[int]]:
        """Return some rows as they are in a shard, and those that are damaged there."""
        inner = rows - k * self._per_shard
        x = found.pixels[inner]
        new = np.flatnonzero(~self._checked[rows])
        bad = [int(rows[n]) for n in new.tolist() if checksum(x[n]) != found.checksums[inner[n]]]
        if not bad:
            self._checked[rows[new]] = True
        return x, bad

    def _mend(self, k: int, damaged: Shard, row: int) -> None:
        with self._lock:
            if self._open[k] is not damaged:  # another thread did
                return
            logger.warning(
                "shard %s: %s is not what its checksum says; the shard is made again",
                self._addresses[k],
                printable(self.encoded.name(row)),
            )
            self._checked[self.rows_of(k)] = False
            disk.remove(self._addresses[k])
            self._open[k] = self._made(k)

    def _shard(self, k: int) -> Shard | None:
        """Return a shard, made if it is not there; None if there is no room for it."""
        if k not in self._open:
            with self._lock:
                if k not in self._open:
                    self._open[k] = _light(disk.find(self._addresses[k])) or self._made(k)
        return self._open[k]

    def _made(self, k: int) -> Shard | None:
        rows, address = self.rows_of(k), self._addresses[k]
        with disk.building(address):
            if (found := disk.find(address)) is not None:  # by another process, meanwhile
                return _light(found)
            if self._is_full or not self.has_room(k):
                return None
            pixels, verdicts = make(self.encoded, rows, self._marks[rows], self.size)
            self._is_full = not disk.keep(address, pixels, verdicts)
        return None if self._is_full else _light(disk.find(address))

    def _decoded(self, row: int, content: bytes | DataError) -> NDArray[np.uint8]:
        """Return an image that has no shard.

        Raises:
            DataError: it is not what it was, or it never was one.
        """
        found, verdict = self.judge(row, content)
        if found is None:
            raise DataError(f"{printable(self.encoded.name(row))} (row {row}): {verdict.bad}")
        return found
