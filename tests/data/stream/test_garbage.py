"""`curvetune gc` and the cache of decoded images."""

import json
import os
import time
from pathlib import Path

import pytest
from stream_helpers import SIZE, table_of, write
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.data.stream import disk, index


def gc(storage: Path, *words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["gc", "--storage", str(storage), "--json", *words])
    assert done.exit_code == 0, done.output
    content: dict[str, object] = json.loads(done.stdout)
    return content


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "results" / "grids").mkdir(parents=True)
    return tmp_path / "results"


def test_images_that_nobody_used_for_long_are_listed_and_removed(
    tmp_path: Path, storage: Path, shards: Path
) -> None:
    index(table_of(write(tmp_path / "old")), SIZE, "fail")
    (old,) = shards.glob("*.npy")
    index(table_of(write(tmp_path / "new", first=100)), SIZE, "fail")
    long_ago = time.time() - 31 * 86400
    os.utime(old, (long_ago, long_ago))
    size = old.stat().st_size

    listed = gc(storage, "--dry-run")
    assert [(i["kind"], i["path"], i["bytes"]) for i in listed["items"]] == [  # type: ignore[attr-defined]
        ("image", str(old), size)
    ]
    assert old.exists()
    assert gc(storage, "--yes")["bytes_removed"] == size
    assert [path.exists() for path in (old, *shards.glob("*.npy"))] == [False, True]


def test_using_images_keeps_them(tmp_path: Path, storage: Path, shards: Path) -> None:
    files = write(tmp_path / "images")
    index(table_of(files), SIZE, "fail")
    (shard,) = shards.glob("*.npy")
    os.utime(shard, (0, 0))
    index(table_of(files), SIZE, "fail")
    assert gc(storage, "--dry-run")["items"] == []


def test_all_images_may_go_and_are_decoded_again(
    tmp_path: Path, storage: Path, shards: Path
) -> None:
    files = write(tmp_path / "images")
    before = index(table_of(files), SIZE, "fail")
    gc(storage, "--yes", "--cache-days", "0")
    assert list(shards.glob("*.npy")) == []
    again = index(table_of(files), SIZE, "fail")
    assert again.digest == before.digest
    assert len(list(shards.glob("*.npy"))) == 1


def test_what_a_killed_builder_left_goes_after_an_hour(shards: Path) -> None:
    shards.mkdir(parents=True)
    (shards / ".0123.npy.abcd").write_bytes(b"half")
    assert disk.unused(30 * 86400) == []
    os.utime(shards / ".0123.npy.abcd", (0, 0))
    assert disk.unused(30 * 86400) == [(shards / ".0123.npy.abcd", 4)]


def test_a_machine_without_a_cache_has_nothing_to_remove(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gc(storage, "--yes")["items"] == []
    monkeypatch.setenv("CURVETUNE_CACHE", "~no-such-user/cache")
    assert gc(storage, "--yes")["items"] == []
