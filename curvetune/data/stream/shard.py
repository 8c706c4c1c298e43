"""A shard: the pixels of some images in one file, and what became of each.

    <address>.npy   the pixels, (n, 3, H, W) uint8, as NumPy saves them
                    JSON of the verdicts, its length (8 bytes)
                    SHA-256 of all but the pixels (32 bytes)

NumPy reads the file all the same. Each image has a checksum of its own, which is looked at when the
image is first used. So opening a shard reads little of it, and no damaged image is trained on.
"""

import hashlib
import io
import json
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

LENGTH_BYTES, SUM_BYTES = 8, 32
MAGIC, HEADER_LENGTH_BYTES = b"\x93NUMPY\x01\x00", 2  # of NumPy's format 1.0
LARGEST_HEADER = 1024  # bytes that NumPy writes before the pixels; 128 for ours


@dataclass(frozen=True)
class Verdict:
    """What became of an image.

    Args:
        bad: why it cannot be used; None if it can.
        changes: what was converted.
        content: digest of its pixels, as `duplicates.content` makes it; empty if it is bad.
    """

    bad: str | None
    changes: tuple[str, ...] = ()
    content: str = ""


@dataclass(frozen=True, eq=False)
class Shard:
    """An open shard."""

    pixels: NDArray[np.uint8]  # (n, 3, H, W), mapped
    checksums: NDArray[np.uint32]  # (n,)
    verdicts: tuple[Verdict, ...]  # (n,)


def checksum(image: NDArray[np.uint8]) -> int:
    """Return what tells that a stored image is what it was; not made against forgery."""
    return zlib.crc32(image.data)


def write(file: IO[bytes], pixels: NDArray[np.uint8], verdicts: list[Verdict]) -> None:
    """Write a shard to an open file; a full disk is an OSError."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(pixels))
    content = json.dumps(
        {
            "checksums": [checksum(image) for image in pixels],
            "verdicts": [[one.bad, one.changes, one.content] for one in verdicts],
        }
    ).encode()
    tail = content + len(content).to_bytes(LENGTH_BYTES, "little")
    file.write(header.getvalue())
    file.write(pixels.data)
    file.write(tail)
    file.write(hashlib.sha256(header.getvalue() + tail).digest())


def read(path: Path) -> Shard | None:
    """Open a shard; None if it is damaged in anything but its pixels.

    Raises:
        OSError: it cannot be read; FileNotFoundError if it is not there.
    """
    with path.open("rb") as file:
        header, tail, expected = _edges(file, os.fstat(file.fileno()).st_size)
        # before they are looked at: of a wrong header NumPy raises whatever it stumbles on
        if hashlib.sha256(header + tail).digest() != expected:
            return None
        file.seek(len(MAGIC))
        shape, _, _ = np.lib.format.read_array_header_1_0(file, LARGEST_HEADER)
        size = file.seek(0, os.SEEK_END) - len(header) - len(tail) - SUM_BYTES
    if size != math.prod(shape):
        return None
    content: dict[str, Any] = json.loads(tail[:-LENGTH_BYTES])
    # asarray: Ray copies a memory map into its pickle, but shares a plain array's buffer
    pixels = np.asarray(np.memmap(path, np.uint8, "r", offset=len(header), shape=shape))
    verdicts = tuple(Verdict(bad, tuple(how), same) for bad, how, same in content["verdicts"])
    return Shard(pixels, np.array(content["checksums"], np.uint32), verdicts)


def _edges(file: IO[bytes], size: int) -> tuple[bytes, bytes, bytes]:
    """Return what is before the pixels, what is behind them, and the SHA-256 at the end."""
    header = file.read(len(MAGIC) + HEADER_LENGTH_BYTES)
    header += file.read(int.from_bytes(header[len(MAGIC) :], "little"))
    file.seek(max(0, size - SUM_BYTES - LENGTH_BYTES))
    length, expected = file.read(LENGTH_BYTES), file.read(SUM_BYTES)
    start = size - SUM_BYTES - LENGTH_BYTES - int.from_bytes(length, "little")
    file.seek(max(0, start))
    return header, file.read(max(0, size - SUM_BYTES - max(0, start))), expected
