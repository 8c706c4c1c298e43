"""What a folder has and is not read: counted, named, and bad where it is an image."""

from pathlib import Path

import pytest
from image_folder import encoded, picture, write_images
from listing_helpers import PNG, folder_of, labelled, labels, problems, write

from curvetune.data import Folder
from curvetune.data.listing import LeftOut, list_images
from curvetune.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_an_image_of_a_kind_that_is_not_read_is_bad_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path)
    write(tmp_path, "train/ant/1.heic", "train/ant/2.HEIC", "test/bee/a.avif", content=b"x")
    write(tmp_path, "train/cat/scan.dcm", content=b"x")
    with pytest.raises(DataError) as refused:
        Folder().load(tmp_path)
    said = str(refused.value)
    assert "4 of 31 images cannot be used" in said
    assert "train/ant/1.heic: .heic is an image of a kind that is not read; convert it to" in said
    assert "images of a kind that is not read: .heic (2), " in said
    report = Folder(on_bad="skip").report(tmp_path)
    assert report.left_out == LeftOut({".heic": 2, ".avif": 1, ".dcm": 1})
    assert (report.train, report.test) == (19, 8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photo", encoded(picture(), "JPEG")),
        ("photo.jpg~", encoded(picture(), "JPEG")),
        ("photo.png.part", PNG),
        ("photo.large", encoded(picture(), "WEBP")),
        ("photo.tiff64", encoded(picture(), "TIFF")),
        ("photo.v2", encoded(picture(), "BMP")),
        ("photo.anim", encoded(picture(), "GIF")),
    ],
)
def test_an_image_without_an_images_name_is_bad(tmp_path: Path, name: str, content: bytes) -> None:
    folder_of(tmp_path, "cat", "dog")
    write(tmp_path, f"train/cat/{name}", content=content)
    listing = list_images(tmp_path)
    assert list(problems(listing)) == [f"train/cat/{name}"]
    assert "an image by its content, but not by its name" in problems(listing)[f"train/cat/{name}"]
    assert sum(listing.left_out.unread.values()) == 1
    labels(tmp_path, f"train/cat/{name},dog,")  # whoever names it means it
    assert labelled(list_images(tmp_path))[f"train/cat/{name}"] == "dog"


def test_files_that_are_no_images_are_counted_and_five_are_named(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    names = ["Thumbs.db", "notes.txt", "deep/a.json", "empty", "b.csv", "c.xyz", "BMW"]
    write(tmp_path, *(f"train/cat/{name}" for name in names), content=b"BM what")
    listing = list_images(tmp_path)
    assert problems(listing) == {}
    assert len(listing.left_out.others) == 7
    (line,) = listing.left_out.words()
    assert line.startswith("other files, not read: 7 (train/cat/BMW, train/cat/Thumbs.db, ")
    assert line.count("train/cat/") == 5


def test_images_in_other_folders_are_counted_unless_a_row_names_them(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    write(tmp_path, "val/cat/a.png", "val/cat/b.png", "extra/a.jpg", "loose.png", "extra/c.txt")
    write(tmp_path, ".git/a.png")
    assert list_images(tmp_path).left_out.beside == {".": 1, "extra": 1, "val": 2}
    labels(tmp_path, "val/cat/a.png,cat,test", "extra/a.jpg,dog,")
    left_out = list_images(tmp_path).left_out
    assert left_out.beside == {".": 1, "val": 1}
    assert left_out.words() == [
        "images beside train and test, not read: 1 (no row of labels.csv names them)",
        "images in val, not read: 1 (no row of labels.csv names them)",
    ]


def test_people_are_told_what_is_left_out_and_what_numbers_stand_for(tmp_path: Path) -> None:
    write_images(tmp_path)
    write(tmp_path, "train/ant/a.heic", "train/ant/a.txt", "dev/a.png", content=b"x")
    labels(tmp_path, "train/ant/0.png,0,", "train/ant/1.png,2,")
    report = Folder(on_bad="skip").report(tmp_path)
    assert report.words() == [
        "19 images to train on and 8 to test on, of 3 classes",
        "the labels in labels.csv count the classes: 0 is ant, 1 is bee, 2 is cat",
        "images of a kind that is not read: .heic (1)",
        "other files, not read: 1 (train/ant/a.txt)",
        "images in dev, not read: 1 (no row of labels.csv names them)",
        "left out: 1 bad images (--on-bad skip)",
        "  train/ant/a.heic: .heic is an image of a kind that is not read; convert it to PNG or "
        "JPEG",
    ]
    found = report.to_json()
    assert (found["ignored_files"], found["ignored_named"]) == (1, ["train/ant/a.txt"])
    assert (found["images_not_read"], found["images_beside"]) == ({".heic": 1}, {"dev": 1})
    assert found["labels_count"] is True
