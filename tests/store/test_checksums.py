"""A checksum is taken once of a file that stays as it is, and anew of one that does not."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curvetune.errors import CorruptError
from curvetune.store.checksums import CHUNK, has_sha256, sha256

OLD_S = 10  # a file that nobody has written to for so long

opened: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if opened is not None and event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


sys.addaudithook(_note)  # which can never be taken away again


@contextmanager
def opens() -> Iterator[list[str]]:
    """Collect the paths that this process opens while the block runs."""
    global opened
    found: list[str] = []
    opened = found
    try:
        yield found
    finally:
        opened = None


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock be later, since the kernel's time of a change cannot be set."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + OLD_S * 10**9)


def expected(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK - 1, CHUNK, 1_000_003])
def test_it_is_the_sha256_of_the_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(os.urandom(size))
    assert sha256(path) == expected(path)
    assert has_sha256(str(path), expected(path))
    assert not has_sha256(str(path), "0" * 64)


def opened_for_two_looks(path: Path) -> list[str]:
    """Return what is opened when a file is looked at twice."""
    path.write_bytes(b"one")
    right = expected(path)
    with opens() as found:
        assert has_sha256(str(path), right)
        assert has_sha256(str(path), right)
        return [*found]


@pytest.mark.usefixtures("settled")
def test_a_file_that_stays_as_it_is_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert opened_for_two_looks(path) == [str(path)]
    with opens() as found:
        assert not has_sha256(str(path), "0" * 64)
    assert found == []


def test_a_file_that_was_just_written_is_opened_each_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert opened_for_two_looks(path) == [str(path)] * 2


def _rewritten(path: Path) -> None:
    path.write_bytes(b"two")


def _replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"two")
    os.replace(other, path)


def _shorter(path: Path) -> None:
    os.truncate(path, 2)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [_rewritten, _replaced, _shorter])
def test_a_file_that_changes_is_read_again_though_its_time_is_put_back(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    right, written = expected(path), path.stat().st_mtime_ns
    assert has_sha256(str(path), right)
    time.sleep(0.02)  # the kernel's clock goes on by 10 ms at most
    change(path)
    os.utime(path, ns=(written, written))
    assert not has_sha256(str(path), right)
    assert has_sha256(str(path), expected(path))


def test_what_is_no_plain_file_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe)
    for other in (link, pipe, tmp_path, tmp_path / "missing", tmp_path / ("x" * 300)):
        assert not has_sha256(str(other), expected(path)), other
        with pytest.raises(CorruptError, match="cannot be read"):
            sha256(other)
    assert not has_sha256(f"{path}\0", expected(path))
