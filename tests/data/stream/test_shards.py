"""Shards: any order bit for bit, mended when damaged, made when missing, and never too many."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from image_folder import picture
from stream_helpers import SIZE, OnDisk, reference, table_of, write

from curvetune.data.stream import ShardPixels, disk, index
from curvetune.data.stream import shards as shards_module
from curvetune.errors import ConfigError, DataError

PER_SHARD = 7  # so that 40 images are six shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MOST_ROWS", PER_SHARD)


@pytest.fixture
def files(tmp_path: Path) -> OnDisk:
    return write(tmp_path / "images")


def pixels_of(files: OnDisk) -> ShardPixels:
    return index(table_of(files), SIZE, "fail").pixels


def everything(pixels: ShardPixels) -> np.ndarray:
    return pixels[np.arange(len(pixels))]


def stored(shards: Path) -> list[Path]:
    return sorted(shards.glob("*.npy"))


@pytest.mark.parametrize("seed", range(5))
def test_batches_come_in_exactly_the_order_asked_for(files: OnDisk, seed: int) -> None:
    generator = np.random.default_rng(seed)
    order = generator.integers(40, size=generator.integers(1, 90))  # some twice, some never
    found = list(pixels_of(files).read(order, 8))
    assert [len(batch) for batch in found[:-1]] == [8] * (len(found) - 1)
    np.testing.assert_array_equal(np.concatenate(found), reference(files, order))


def test_a_part_of_a_part_is_what_numpy_says_it_is(files: OnDisk) -> None:
    order = np.random.default_rng(0).permutation(40)
    part = pixels_of(files).part(order[:20]).part(np.array([3, 3, 19, 0]))
    np.testing.assert_array_equal(everything(part), reference(files, order[[3, 3, 19, 0]]))
    assert part.name(1) == files.names[order[3]]


def test_they_are_indexed_as_an_array_is(files: OnDisk) -> None:
    pixels, expected = pixels_of(files), reference(files, range(40))
    for positions in (3, -1, slice(None), slice(30, 5, -4), expected[:, 0, 0, 0] > 100):
        np.testing.assert_array_equal(pixels[positions], expected[positions])
    with pytest.raises(IndexError):
        pixels[np.array([40])]


def test_pixels_are_of_the_cache_once_they_are_there_and_need_no_file(
    files: OnDisk, shards: Path
) -> None:
    pixels, expected = pixels_of(files), reference(files, range(40))
    for path in files.files():
        path.unlink()
    np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(pixels))), expected)
    assert len(stored(shards)) == 6


def test_a_copy_of_the_images_elsewhere_uses_the_same_shards(
    files: OnDisk, tmp_path: Path, shards: Path
) -> None:
    pixels_of(files)
    before = {path: path.stat().st_ino for path in stored(shards)}
    pixels_of(write(tmp_path / "copy"))
    assert {path: path.stat().st_ino for path in stored(shards)} == before


def test_numpy_reads_a_shard_as_it_is(files: OnDisk, shards: Path) -> None:
    pixels_of(files)
    found = {np.load(path)[0].tobytes() for path in stored(shards)}
    assert found == {reference(files, [row])[0].tobytes() for row in range(0, 40, PER_SHARD)}


def test_what_is_sent_elsewhere_makes_the_shards_that_are_missing_there(
    files: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(pixels_of(files))
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "of another machine"))
    np.testing.assert_array_equal(everything(pickle.loads(sent)), reference(files, range(40)))
    assert len(stored(tmp_path / "of another machine" / "shards")) == 6


@pytest.mark.parametrize("what", ["changed", "vanished"])
def test_a_file_that_is_not_what_it_was_is_named_where_a_shard_must_be_made(
    files: OnDisk, shards: Path, what: str
) -> None:
    sent = pickle.dumps(pixels_of(files))
    for path in stored(shards):
        path.unlink()
    path = files.folder / "23.jpg"
    path.unlink() if what == "vanished" else picture(99).save(path)
    with pytest.raises(DataError, match=r"23\.jpg"):
        everything(pickle.loads(sent))


def _flip(position: int) -> Callable[[bytearray], bytes]:
    def flip(content: bytearray) -> bytes:
        content[position] ^= 1
        return content

    return flip


DAMAGES = [
    pytest.param(_flip(60), id="a bit of the header"),
    pytest.param(_flip(200), id="a bit of a pixel"),
    pytest.param(_flip(-50), id="a bit of the verdicts"),
    pytest.param(_flip(-1), id="a bit of the checksum"),
    pytest.param(lambda content: content[:-1], id="the last byte cut off"),
    pytest.param(lambda content: content[: len(content) // 2], id="half of it"),
    pytest.param(lambda content: b"", id="nothing"),
    pytest.param(lambda content: bytes(len(content)), id="zeros"),
    pytest.param(lambda content: content + b"\0", id="a byte too many"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_made_again_which_is_said_once(
    files: OnDisk,
    shards: Path,
    damage: Callable[[bytearray], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = pickle.dumps(pixels_of(files))
    path = stored(shards)[2]
    path.write_bytes(damage(bytearray(path.read_bytes())))
    pixels = pickle.loads(sent)
    for _ in range(2):
        np.testing.assert_array_equal(everything(pixels), reference(files, range(40)))
    assert caplog.text.count("made again") == 1
    assert path.stem in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(everything(pickle.loads(sent)), reference(files, range(40)))
    assert caplog.text == ""


def test_a_shard_that_is_damaged_and_cannot_be_made_again_is_an_error_with_the_image(
    files: OnDisk, shards: Path
) -> None:
    sent = pickle.dumps(pixels_of(files))
    for path in stored(shards):
        path.write_bytes(_flip(200)(bytearray(path.read_bytes())))
    for path in files.files():
        path.unlink()
    with pytest.raises(DataError, match=r"\d\.jpg"):
        everything(pickle.loads(sent))


BUILD = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from stream_helpers import OnDisk, SIZE, table_of
from curvetune.data.stream import disk, index, shards
shards.MOST_ROWS = {per_shard}
disk.RESERVE_SHARE = 0.0
class Slow(OnDisk):
    def read(self, positions):
        time.sleep(0.02)
        return super().read(positions)
names = tuple(f"{{k}}.jpg" for k in range(40))
index(table_of(Slow(Path({folder!r}), names)), SIZE, "fail")
"""


def builder(files: OnDisk) -> "subprocess.Popen[bytes]":
    code = BUILD.format(paths=sys.path, per_shard=PER_SHARD, folder=str(files.folder))
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ)


def test_a_builder_that_is_killed_blocks_nobody_and_its_shards_are_used(
    files: OnDisk, shards: Path
) -> None:
    for killed_after in (1, 3):
        process = builder(files)
        while len(stored(shards)) < killed_after:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = {path: path.stat().st_ino for path in stored(shards)}
    np.testing.assert_array_equal(everything(pixels_of(files)), reference(files, range(40)))
    assert left.items() <= {path: path.stat().st_ino for path in stored(shards)}.items()


def test_two_builders_at_once_make_each_shard_once(files: OnDisk, shards: Path) -> None:
    seen: dict[Path, set[int]] = {}
    both = [builder(files), builder(files)]
    while any(process.poll() is None for process in both):
        for path in stored(shards):
            seen.setdefault(path, set()).add(path.stat().st_ino)
        time.sleep(0.002)
    assert [process.wait() for process in both] == [0, 0]
    assert len(stored(shards)) == 6
    assert all(len(inodes) == 1 for inodes in seen.values())
    assert [path for path in shards.iterdir() if path.name.startswith(".")] == []
    np.testing.assert_array_equal(everything(pixels_of(files)), reference(files, range(40)))


@pytest.fixture
def full_disk(files: OnDisk) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # bytes in a file: less than a shard
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_fills_up_costs_only_time_and_is_said_once(
    files: OnDisk, shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = pixels_of(files)
    assert caplog.text.count("cannot be written") == 1
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(
        np.concatenate(list(pixels.read(order, 8))), reference(files, order)
    )
    assert [path for path in shards.iterdir() if path.is_file()] == []


@pytest.mark.parametrize(("bytes_allowed", "kept"), [(0, 0), (12_000, 2), (10_000_000, 6)])
def test_the_cache_keeps_no_more_than_was_said_and_the_rest_is_decoded_anew(
    files: OnDisk,
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bytes_allowed: int,
    kept: int,
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", f"{bytes_allowed / 1e9:.9f}")
    pixels = pixels_of(files)
    order = np.random.default_rng(0).permutation(40)
    for _ in range(2):
        found = np.concatenate(list(pixels.read(order, 8)))
        np.testing.assert_array_equal(found, reference(files, order))
    assert len(stored(shards)) == kept
    left = 40 - kept * PER_SHARD
    assert (f"{left} of 40 images have no room" in caplog.text) == (kept < 6)


def test_on_a_disk_that_is_nearly_full_nothing_is_kept(
    files: OnDisk, shards: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = shutil.disk_usage(files.folder).free
    monkeypatch.setattr(disk, "RESERVE_BYTES", 2 * free)
    monkeypatch.setattr(disk, "RESERVE_SHARE", 1.0)
    np.testing.assert_array_equal(everything(pixels_of(files)), reference(files, range(40)))
    assert stored(shards) == []
    assert "40 of 40 images have no room" in caplog.text


def test_an_image_without_a_shard_that_changed_is_named_with_its_row(
    files: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = pixels_of(files)
    picture(99).save(files.folder / "23.jpg")
    with pytest.raises(DataError, match=r"23\.jpg \(row 23\): it changed"):
        list(pixels.read(np.arange(40), 8))
    assert [one for one in threading.enumerate() if one.name.startswith("curvetune")] == []


@pytest.mark.parametrize("said", ["much", "-1", "nan", "1e3"])
def test_a_bound_that_is_no_size_is_an_error_in_words(
    files: OnDisk, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", said)
    with pytest.raises(ConfigError, match=f"CURVETUNE_CACHE_GB='{said}': no size; allowed is"):
        pixels_of(files)


def test_who_leaves_an_epoch_early_leaves_no_thread(
    files: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gigabytes in ("1", "0"):  # mapped, and decoded
        monkeypatch.setenv("CURVETUNE_CACHE_GB", gigabytes)
        for batch in pixels_of(files).read(np.arange(40), 8):
            assert len(batch) == 8
            break
        assert [one for one in threading.enumerate() if one.name.startswith("curvetune")] == []


def test_two_threads_may_read_the_same_pixels(files: OnDisk, shards: Path) -> None:
    sent = pickle.dumps(pixels_of(files))
    for path in stored(shards)[:3]:
        path.write_bytes(_flip(200)(bytearray(path.read_bytes())))
    pixels, expected = pickle.loads(sent), reference(files, range(40))
    wrong = []

    def read() -> None:
        for _ in range(20):
            if not np.array_equal(everything(pixels), expected):
                wrong.append(True)

    both = [threading.Thread(target=read) for _ in range(3)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert wrong == []
