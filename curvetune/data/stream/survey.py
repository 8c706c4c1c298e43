"""What every image of a table is: its digest, and whether and how it can be decoded."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL
from numpy.typing import NDArray

from curvetune.data import cache
from curvetune.data.decode import VERSION
from curvetune.data.pixels import Encoded, Positions
from curvetune.data.stream import disk
from curvetune.data.stream.ahead import each
from curvetune.data.stream.shard import Verdict
from curvetune.data.stream.shards import MARK_BYTES, MISSING, address_of, make, rows_in_shard
from curvetune.data.stream.stamps import stamp_of
from curvetune.errors import DataError, printable
from curvetune.system.units import duration

HELD_BYTES = 256_000_000  # of encoded images between hashing and decoding; others are read twice
SAY_EVERY_S = 15.0
CONTENT_BYTES = 16  # of a digest of pixels, as duplicates.py makes it

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found, of N rows."""

    sums: NDArray[np.uint8]  # (N, 32), SHA-256; zeros where it cannot be read
    contents: NDArray[np.uint8]  # (N, 16), digest of the pixels; zeros where it is bad
    addresses: tuple[str, ...]  # of the shards
    bad: dict[int, str]  # row and reason
    converted: dict[str, int]  # what was converted, and how often


def of(encoded: Encoded, size: int) -> Survey:
    """Return what every row is, from an earlier look if no file changed since.

    Raises:
        DataError: an image changes while it is read.
        ConfigError: CURVETUNE_CACHE_GB is no size.
    """
    stamp = stamp_of(encoded)
    name = None if stamp is None else f"survey-{stamp}-{VERSION}-pillow{PIL.__version__}-{size}"
    if name is not None and (found := _kept(name)) is not None:
        return found
    found = _Looking(encoded, size).all()
    if name is not None and stamp_of(encoded) == stamp:
        _keep(name, found)
    return found


class _Held:
    """Encoded images of which some are in memory."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded
        self._contents: dict[int, bytes] = {}
        self._room = HELD_BYTES

    def hold(self, row: int, content: bytes) -> None:
        """Hold the bytes of a row if there is room."""
        if len(content) <= self._room:
            self._contents[row] = content
            self._room -= len(content)

    def __len__(self) -> int:
        return len(self._encoded)

    def name(self, position: int) -> str:
        return self._encoded.name(position)

    def suffix(self, position: int) -> str:
        return self._encoded.suffix(position)

    def read(self, positions: Positions) -> Sequence[bytes]:
        rows = positions.tolist()
        if all(row in self._contents for row in rows):
            return [self._contents[row] for row in rows]
        return self._encoded.read(positions)


class _Looking:
    """One pass over all rows, a shard at a time."""

    def __init__(self, encoded: Encoded, size: int) -> None:
        self._encoded, self._size = encoded, size
        self._sums = np.zeros((len(encoded), len(MISSING)), np.uint8)
        self._contents = np.zeros((len(encoded), CONTENT_BYTES), np.uint8)
        self._bad: dict[int, str] = {}
        self._converted: Counter[str] = Counter()
        self._without_shard = 0
        self._is_full = False

    def all(self) -> Survey:
        """Look at every row."""
        count, step = len(self._encoded), rows_in_shard(self._size)
        addresses = []
        progress = _Progress(count)
        for start in range(0, count, step):
            rows = np.arange(start, min(start + step, count), dtype=np.int64)
            addresses.append(self._look(rows))
            progress.say(int(rows[-1]) + 1)
        if self._without_shard:
            logger.warning(
                "%s of %s images have no room in %s and are decoded again in each epoch; make "
                "room (curvetune gc), or set CURVETUNE_CACHE to a larger disk or %s to more",
                f"{self._without_shard:,}",
                f"{count:,}",
                disk.folder(),
                disk.LIMIT,
            )
        converted = dict(sorted(self._converted.items()))
        return Survey(self._sums, self._contents, tuple(addresses), self._bad, converted)

    def _look(self, rows: Positions) -> str:
        """Look at the rows of a shard; return its address."""
        held = _Held(self._encoded)

        def hashed(row: int, content: bytes | DataError) -> bytes:
            if isinstance(content, DataError):
                name = f"{printable(self._encoded.name(row))}: "  # whoever reads it has the name
                self._bad[row] = printable(content).split(name, 1)[-1]
                return MISSING
            held.hold(row, content)
            return hashlib.sha256(content).digest()

        sums = list(each(self._encoded, rows, hashed))
        self._sums[rows] = np.frombuffer(b"".join(sums), np.uint8).reshape(len(rows), -1)
        address = address_of(self._encoded, rows, sums, self._size)
        for row, verdict in zip(rows.tolist(), self._verdicts(held, rows, address), strict=True):
            if verdict.bad is not None:
                self._bad.setdefault(row, verdict.bad)  # why it cannot be read is known already
            else:
                self._contents[row] = np.frombuffer(bytes.fromhex(verdict.content), np.uint8)
            self._converted.update(verdict.changes)
        return address

    def _verdicts(self, held: _Held, rows: Positions, address: str) -> Sequence[Verdict]:
        if (found := disk.find(address)) is not None:
            return found.verdicts
        with disk.building(address):
            if (found := disk.find(address)) is not None:  # another process was faster
                return found.verdicts
            pixels, verdicts = make(held, rows, self._sums[rows, :MARK_BYTES], self._size)
            has_room = not self._is_full and disk.has_room(pixels.nbytes)
            if not (has_room and disk.keep(address, pixels, verdicts)):
                self._is_full = True
                self._without_shard += len(rows)
            return verdicts


class _Progress:
    """Says now and then how far a long pass is."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._start = self._said = time.monotonic()

    def say(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S or done == self._count:
            return
        self._said = now
        left = (now - self._start) * (self._count - done) / done
        words = f"{done:,} of {self._count:,} images are read, about {duration(left)} to go"
        logger.warning("%s; the next command finds them in the cache", words)


def _kept(name: str) -> Survey | None:
    arrays = [cache.find(f"{name}-{part}") for part in ("sums", "contents", "facts")]
    sums, contents, facts = arrays
    if sums is None or contents is None or facts is None:
        return None
    told = json.loads(facts.tobytes())
    bad = {int(row): reason for row, reason in told["bad"].items()}
    return Survey(sums, contents, tuple(told["addresses"]), bad, told["converted"])


def _keep(name: str, found: Survey) -> None:
    facts = {"addresses": found.addresses, "bad": found.bad, "converted": found.converted}
    cache.keep(f"{name}-sums", found.sums)
    cache.keep(f"{name}-contents", found.contents)
    cache.keep(f"{name}-facts", np.frombuffer(json.dumps(facts).encode(), np.uint8).copy())
