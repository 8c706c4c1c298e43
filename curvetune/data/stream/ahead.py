"""Work that goes on in threads while its results are used; nothing of it outlives the iterator."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from curvetune.data.pixels import Encoded, Positions
from curvetune.errors import DataError

T = TypeVar("T")
CHUNK = 8  # images that a thread takes at once: one alone costs more in passing on than in work


def ahead(items: Generator[T, None, None], depth: int) -> Iterator[T]:
    """Yield what `items` yields, with up to `depth` of them made before they are asked for.

    They are made in one thread, which has ended when this iterator has, or is closed.
    """
    with closing(items), ThreadPoolExecutor(1, "curvetune-ahead") as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, items, None))
                yield item
        finally:
            for one in coming:
                one.cancel()


def each(
    encoded: Encoded,
    positions: Positions,
    work: Callable[[int, bytes | DataError], T],
    threads: int | None = None,
) -> Generator[T, None, None]:
    """Yield `work` of each row and its bytes, in the order of `positions`.

    Bytes are read in this thread, and in order: a Parquet file is slow in any other. The work is
    done in others, a few rows ahead. A row that cannot be read is worked on as the error it gave.

    Args:
        threads: None is one for each CPU that this process may use.
    """
    threads = threads or cpus()

    def chunk_of(rows: Positions, contents: list[bytes | DataError]) -> list[T]:
        return [work(row, content) for row, content in zip(rows.tolist(), contents, strict=True)]

    with ThreadPoolExecutor(threads, "curvetune-decode") as pool:
        coming = deque[Future[list[T]]]()
        try:
            for start in range(0, len(positions), CHUNK):
                rows = positions[start : start + CHUNK]
                coming.append(pool.submit(chunk_of, rows, contents_of(encoded, rows)))
                if len(coming) > threads + 2:
                    yield from coming.popleft().result()
            while coming:
                yield from coming.popleft().result()
        finally:
            for one in coming:
                one.cancel()


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def contents_of(encoded: Encoded, rows: Positions) -> list[bytes | DataError]:
    """Return the bytes of each row, or the error that it gave."""
    try:
        return list(encoded.read(rows))
    except DataError as error:
        if len(rows) == 1:
            return [error]
    return [content for row in rows for content in contents_of(encoded, row[None])]
