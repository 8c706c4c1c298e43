"""An iterator that is another one's, but for a limit to how long an item may take."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
OFTEN_S = 0.1  # how soon the thread hears that nobody wants more


class LateError(Exception):
    """An item was not there in time."""


class Waited(Generic[T]):
    """Items that are made in a thread, of which at most two wait to be taken.

    The thread ends soon after `close`, unless it waits for an item then. It is a daemon: what
    waits inside a library cannot be interrupted, and must not keep the process.
    """

    def __init__(self, items: Iterator[T], limit_s: float) -> None:
        self._items, self._limit_s = items, limit_s
        self._ready: queue.Queue[tuple[bool, T | None, BaseException | None]] = queue.Queue(1)
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="curvetune-waited", daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Return the next item.

        Raises:
            LateError: it is not there in time.
            BaseException: what `items` raised.
        """
        try:
            is_item, item, error = self._ready.get(timeout=self._limit_s)
        except queue.Empty:
            raise LateError from None
        if error is not None:
            raise error
        if not is_item:
            raise StopIteration
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Want no more items."""
        self._stop.set()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(True, item, None):
                    return
            self._put(False, None, None)
        except BaseException as error:
            self._put(False, None, error)

    def _put(self, is_item: bool, item: T | None, error: BaseException | None) -> bool:
        """Hand something on; say whether anybody wanted it."""
        while not self._stop.is_set():
            try:
                self._ready.put((is_item, item, error), timeout=OFTEN_S)
            except queue.Full:
                continue
            return True
        return False
