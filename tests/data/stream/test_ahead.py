"""Work ahead of its use: in order, never far ahead, and without a thread that stays."""

import threading
import time
from collections.abc import Generator, Sequence

import numpy as np
import pytest

from curvetune.data.pixels import Positions
from curvetune.data.stream.ahead import ahead, each
from curvetune.errors import DataError


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("curvetune")]


def counted(made: list[int], count: int = 50) -> Generator[int, None, None]:
    for k in range(count):
        made.append(k)
        yield k


def test_everything_comes_in_order_and_the_thread_ends() -> None:
    assert list(ahead(counted([]), 3)) == list(range(50))
    assert threads() == []


def test_no_more_is_made_ahead_than_was_said() -> None:
    made: list[int] = []
    items = ahead(counted(made), 3)
    assert next(items) == 0
    time.sleep(0.05)  # long enough to make all of them
    assert made == [0, 1, 2, 3]
    items.close()  # type: ignore[attr-defined]
    assert threads() == []


def test_who_leaves_early_ends_the_thread_and_the_generator() -> None:
    ended = []

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    for _ in ahead(endless(), 2):
        break
    assert ended == [True]
    assert threads() == []


def test_an_error_comes_where_the_item_would_have_come() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise DataError("the second")

    items = ahead(broken(), 3)
    assert next(items) == 1
    with pytest.raises(DataError, match="the second"):
        next(items)
    assert threads() == []


class Numbers:
    """Encoded rows that are their own number; some cannot be read."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = bad
        self.read_rows: list[int] = []

    def __len__(self) -> int:
        return 1000

    def name(self, position: int) -> str:
        return str(position)

    def suffix(self, position: int) -> str:
        return ""

    def read(self, positions: Positions) -> Sequence[bytes]:
        if bad := set(positions.tolist()) & set(self.bad):
            raise DataError(f"{min(bad)}: gone")
        self.read_rows += positions.tolist()
        return [str(row).encode() for row in positions]


def test_rows_are_worked_on_by_several_threads_and_come_in_the_order_asked_for() -> None:
    seen = set()

    def work(row: int, content: bytes | DataError) -> tuple[int, object]:
        seen.add(threading.get_ident())
        time.sleep(0.001 * (row % 3))
        return row, content

    order = np.random.default_rng(0).permutation(200)
    found = list(each(Numbers(), order, work, threads=4))
    assert found == [(row, str(row).encode()) for row in order]
    assert len(seen) == 4
    assert threads() == []


def test_rows_are_read_once_in_order_and_not_far_ahead() -> None:
    rows = Numbers()
    items = each(rows, np.arange(1000), lambda row, _: row, threads=2)
    assert next(items) == 0
    assert rows.read_rows == list(range(len(rows.read_rows)))
    assert len(rows.read_rows) <= 50
    items.close()
    assert threads() == []


def test_a_row_that_cannot_be_read_is_an_error_of_its_own_and_the_others_are_read() -> None:
    rows = Numbers(bad=[3, 17])
    found = list(each(rows, np.arange(20), lambda row, content: content))
    for row, content in enumerate(found):
        if row in (3, 17):
            assert isinstance(content, DataError)
            assert str(content) == f"{row}: gone"
        else:
            assert content == str(row).encode()
