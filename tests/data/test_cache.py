"""The cache of decoded images: made once per machine, never wrong, and never in the way."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_cifar import encoded, images, write_cifar, write_parquet

import curvetune.data
from curvetune.data import cache
from curvetune.data.sets.resident import ResidentSet


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache's arrays, which is still to be made."""
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "arrays"


def array(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(256, size=(7, 3, 4, 4), dtype=np.uint8)


def never() -> NDArray[np.uint8]:
    raise AssertionError("made a second time")


def test_an_array_is_made_once_and_comes_back_bit_for_bit_and_read_only(folder: Path) -> None:
    for make in (array, never):
        x = cache.kept("a", make)
        np.testing.assert_array_equal(x, array())
        assert not x.flags.writeable
    assert [path.name for path in folder.iterdir()] == ["a.npy"]


def test_arrays_of_different_names_have_nothing_to_do_with_each_other(folder: Path) -> None:
    cache.kept("a", array)
    np.testing.assert_array_equal(cache.kept("b", lambda: array(1)), array(1))
    np.testing.assert_array_equal(cache.kept("a", never), array())


def test_a_cached_array_stays_on_the_disk_until_it_is_looked_at(folder: Path) -> None:
    cache.kept("a", array)
    x = cache.kept("a", never)
    assert isinstance(x.base, np.memmap)
    assert type(x) is np.ndarray  # Ray shares these between processes, and copies memory maps


def test_numpy_reads_a_cached_file_as_it_is(folder: Path) -> None:
    cache.kept("a", array)
    np.testing.assert_array_equal(np.load(folder / "a.npy"), array())


def _flip(position: int) -> Callable[[bytearray], bytes]:
    def flip(content: bytearray) -> bytes:
        content[position] ^= 1
        return content

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_flip(0), id="a bit of the magic string"),
        pytest.param(_flip(60), id="a bit of the header"),
        pytest.param(_flip(200), id="a bit of a pixel"),
        pytest.param(_flip(-1), id="a bit of the checksum"),
        pytest.param(lambda content: content[:-1], id="the last byte cut off"),
        pytest.param(lambda content: content[: len(content) // 2], id="half of it"),
        pytest.param(lambda content: content[:10], id="ten bytes"),
        pytest.param(lambda content: b"", id="nothing"),
        pytest.param(lambda content: bytes(len(content)), id="zeros"),
        pytest.param(lambda content: content + b"\0", id="a byte too many"),
    ],
)
def test_a_damaged_file_is_made_again_which_is_said(
    folder: Path, damage: Callable[[bytearray], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache.kept("a", array)
    path = folder / "a.npy"
    path.write_bytes(damage(bytearray(path.read_bytes())))
    np.testing.assert_array_equal(cache.kept("a", array), array())
    assert "made again" in caplog.text
    assert "a.npy" in caplog.text or "array a" in caplog.text
    np.testing.assert_array_equal(cache.kept("a", never), array())


@pytest.mark.parametrize("where", ["under a file", "in the home of nobody"])
def test_a_cache_that_cannot_be_written_costs_only_the_time(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache_dir = tmp_path / "file" / "cache" if where == "under a file" else "~no-such-user/cache"
    monkeypatch.setenv("CURVETUNE_CACHE", str(cache_dir))
    for _ in range(2):
        x = cache.kept("a", array)
        np.testing.assert_array_equal(x, array())
        assert not x.flags.writeable
    assert "set CURVETUNE_CACHE to a folder that can be written" in caplog.text


def test_a_disk_that_fills_up_costs_only_the_time_and_leaves_nothing_behind(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # bytes in a file: less than the array
    try:
        x = cache.kept("a", array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(x, array())
    assert "cannot be cached" in caplog.text
    assert list(folder.iterdir()) == []


def test_an_array_that_cannot_be_made_is_an_error_and_not_cached(folder: Path) -> None:
    with pytest.raises(AssertionError, match="second time"):
        cache.kept("a", never)
    assert not folder.exists()


def test_several_processes_may_make_an_array_at_once(folder: Path) -> None:
    code = (
        "import numpy as np, time\n"
        "from curvetune.data import cache\n"
        "def make():\n"
        "    time.sleep(0.5)\n"  # long enough for all of them to miss
        "    return np.arange(3_000_000, dtype=np.uint8).reshape(1000, 3, 10, 100)\n"
        "assert (cache.kept('a', make) == make()).all()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert [path.name for path in folder.iterdir()] == ["a.npy"]
    assert cache.kept("a", never).shape == (1000, 3, 10, 100)


# ---------------------------------------------------------------- the images of Parquet files


def _fail(*args: object, **options: object) -> None:
    raise AssertionError("an image was decoded")


def test_the_images_of_parquet_files_are_decoded_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_cifar(tmp_path / "data")
    first = curvetune.data.load("cifar10", tmp_path / "data")
    monkeypatch.setattr(Image, "open", _fail)
    second = curvetune.data.load("cifar10", tmp_path / "data")
    for before, after in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(after.x, before.x)
        np.testing.assert_array_equal(after.y, before.y)
    assert len(list(folder.iterdir())) == 2
    assert caplog.record_tuples == []


def test_a_copy_elsewhere_is_not_decoded_again_but_other_content_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "data")
    write_cifar(tmp_path / "copy")
    curvetune.data.load("cifar10", tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", _fail)
        curvetune.data.load("cifar10", tmp_path / "copy")
    pixels = images(2, seed=9)
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    write_parquet(path, [encoded(image, "PNG") for image in pixels], [0, 1])
    found = curvetune.data.load("cifar10", tmp_path / "data").test.x
    np.testing.assert_array_equal(found, pixels.transpose(0, 3, 1, 2))


def test_a_training_set_is_made_of_mapped_images_without_touching_them(
    folder: Path, tmp_path: Path
) -> None:
    write_cifar(tmp_path)
    batches = []
    for _ in range(2):  # decoded, then mapped
        data = curvetune.data.load("cifar10", tmp_path)
        train = ResidentSet(data.train.x, data.train.y, data, torch.device("cpu"))
        batches.append(next(train.batches(5, torch.Generator().manual_seed(0))))
    assert torch.equal(batches[0].x, batches[1].x)
    np.testing.assert_array_equal(data.train.x, images(5, seed=0).transpose(0, 3, 1, 2))
