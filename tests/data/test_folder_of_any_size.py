"""A folder of any number of images: shards instead of an array, one look, and the same cells."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder import TRAIN, write_images
from listing_helpers import folder_of
from PIL import Image
from test_cell import small_cell
from test_streamed_cell import both

from curvetune.config import CellConfig
from curvetune.data import Folder
from curvetune.data.sets.residence import is_streamed
from curvetune.data.stream import shards, survey
from curvetune.data.tables.encoded import Files
from curvetune.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a --data-dir with 19 training and 8 test images of three classes."""
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return tmp_path / "images"


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")


def settled(folder: Path) -> None:
    """Wait until the files' times tell a later change."""
    newest = max(path.lstat().st_ctime for path in folder.rglob("*"))
    time.sleep(max(0.0, newest + 2.2 - time.time()))


def test_what_is_held_while_a_folder_is_decoded_is_a_shard_and_not_the_folder(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1_000_000)
    monkeypatch.setattr(survey, "HELD_BYTES", 0)
    for k in range(100):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(images / "train" / "ant" / f"more{k}.png")
    tracemalloc.start()
    data = Folder(256).load(images)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.prod(data.train.x.shape) > 20_000_000
    assert held < 8_000_000


def test_images_that_did_not_change_are_not_read_again(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "train" / "ant" / "bad.png").write_bytes(b"no image")
    (images / "train" / "ant" / "none.png").symlink_to("nowhere")
    settled(images)
    first = Folder(on_bad="skip")
    before = first.load(images)
    monkeypatch.setattr(Files, "read", lambda *_: pytest.fail("a file was read"))
    second = Folder(on_bad="skip")
    after = second.load(images)
    for one, other in ((before.train, after.train), (before.test, after.test)):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)
    assert second.digest(images) == first.digest(images)
    assert second.report(images) == first.report(images)
    assert len(first.report(images).bad) == 2


def test_a_label_that_changes_is_seen_though_no_image_did(images: Path) -> None:
    settled(images)
    before = Folder().digest(images)
    (images / "labels.csv").write_text("file,label\ntrain/ant/0.png,bee\n")
    folder = Folder()
    assert folder.train_labels(images)[0] == 1
    assert folder.digest(images) != before


def test_one_folder_of_two_sizes_is_one_set_of_files(images: Path) -> None:
    assert Folder(16).digest(images) == Folder(32).digest(images)


def test_a_folder_without_a_single_file_that_is_read_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    folder_of(tmp_path / "images", "cat", "dog")
    for path in list((tmp_path / "images").rglob("*.png")):
        path.rename(path.with_suffix(".heic"))
    for _ in range(2):
        with pytest.raises(DataError, match="train has no usable image of 2 of 2 classes"):
            Folder(on_bad="skip").load(tmp_path / "images")


def test_images_without_room_in_the_cache_are_the_same_images(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Folder().load(images)
    monkeypatch.setenv("CURVETUNE_CACHE", str(images.parent / "another"))
    no_room(monkeypatch)
    anew = Folder().load(images)
    rows = np.random.default_rng(0).permutation(sum(TRAIN))
    np.testing.assert_array_equal(anew.train.x[rows], kept.train.x[rows])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "cannot be read (No such file or directory); put it back as"),
        (lambda path: path.write_bytes(b"x"), "it changed since it was first read"),
    ],
)
def test_an_image_that_is_another_one_in_mid_training_is_named(  # type: ignore[no-untyped-def]
    images: Path, change, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room(monkeypatch)
    data = Folder().load(images)
    change(images / "train" / "bee" / "3.png")
    with pytest.raises(DataError) as error:
        list(data.train.x.read(np.arange(sum(TRAIN)), 4))
    assert "train/bee/3.png" in str(error.value)
    assert reason in str(error.value)


def test_a_folder_is_found_from_another_working_directory(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room(monkeypatch)
    monkeypatch.chdir(images.parent)
    data = Folder().load(Path("images"))
    monkeypatch.chdir("/")
    assert data.train.x[np.arange(2)].shape == (2, 3, 32, 32)


def test_auto_keeps_a_small_folder_on_the_device(images: Path) -> None:
    data = Folder().load(images)
    assert [is_streamed(data, one, CPU) for one in ("auto", "resident", "streamed")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("has_room", [True, False])
def test_a_streamed_cell_of_a_folder_equals_the_resident_one(
    images: Path, tmp_path: Path, has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_room:
        no_room(monkeypatch)
    values = small_cell().model_dump(mode="json")
    values |= {"data": {"name": "folder", "meta_per_class": 1}}
    values |= {"method": {"name": "curvenet", "removed_losses": 1, "meta_batch_size": 3}}
    folder = Folder()
    both(CellConfig.model_validate(values), folder.load(images), tmp_path, folder.digest(images))
