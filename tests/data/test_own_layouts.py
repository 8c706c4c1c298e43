"""Folders as people have them: which part is which, what is held out, and how columns are called.

What was read before is read as before: the digests are those of the commit before other layouts.
"""

import csv
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folder import CLASSES, TEST, TRAIN, encoded, picture, write_images
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.data import Folder
from curvetune.data.listing import list_images
from curvetune.data.own.held_out import SHARE, held_out
from curvetune.errors import DataError


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a --data-dir with 19 training and 8 test images of three classes."""
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return tmp_path / "images"


def sizes(folder: Path) -> tuple[list[int], list[int]]:
    data = Folder().load(folder)
    assert data.class_names == CLASSES
    return np.bincount(data.train.y).tolist(), np.bincount(data.test.y).tolist()


def said(folder: Path) -> str:
    return "\n".join(Folder().report(folder).words())


def table(folder: Path, columns: tuple[str, ...], *, splits: tuple[str, ...] = ()) -> None:
    """Put ten images of each class into one folder, with a labels.csv that labels them."""
    (folder / "photos").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for k in range(30):
            (folder / "photos" / f"{k}.png").write_bytes(encoded(picture(k, 16, 16)))
            of = [splits[k // 3 % len(splits)]] if splits else []
            rows.writerow([f"photos/{k}.png", CLASSES[k % 3], *of])


# ---------------------------------------------------------------- which part is which


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "Test", "testing", "VAL"])
def test_images_to_test_on_are_in_a_folder_with_one_of_the_usual_names(
    images: Path, name: str
) -> None:
    (images / "test").rename(images / name)
    assert sizes(images) == (list(TRAIN), list(TEST))
    assert ("are tested on, since there is no test" in said(images)) == name.lower().startswith("v")


def test_where_there_is_a_test_val_is_not_read_and_that_is_said(images: Path) -> None:
    shutil.copytree(images / "train", images / "val")
    before = Folder().digest(images)
    assert sizes(images) == (list(TRAIN), list(TEST))
    assert f"images in val, not read: {sum(TRAIN)}" in said(images)
    shutil.rmtree(images / "val")
    assert Folder().digest(images) == before


def test_two_folders_that_may_be_the_same_part_are_refused(images: Path) -> None:
    (images / "test").rename(images / "val")
    shutil.copytree(images / "val", images / "Val2")
    (images / "Val2").rename(images / "valid")
    (images / "val").rename(images / "Val")
    with pytest.raises(DataError, match="Val and valid may be the same part of the data"):
        Folder().digest(images)


def test_a_plain_folder_of_classes_is_read_and_what_is_no_class_is_not(images: Path) -> None:
    plain = images / "train"
    (plain / "notes").mkdir()
    (plain / "notes" / "readme.txt").write_text("x")
    train, test = sizes(plain)
    assert (np.array(train) + test).tolist() == list(TRAIN)
    assert "the folder's own folders are the classes" in said(plain)


def test_one_folder_of_images_is_no_data_set(images: Path) -> None:
    shutil.rmtree(images / "test")
    (images / "train" / "bee").rename(images / "bee")
    shutil.rmtree(images / "train")
    with pytest.raises(DataError, match=r"1 classes in train; at least 2 .*or DIR/<class>/"):
        Folder().digest(images)


# ---------------------------------------------------------------- what is held out


def test_without_images_to_test_on_a_fifth_of_each_class_is_held_out_and_that_is_said(
    images: Path,
) -> None:
    shutil.rmtree(images / "test")
    held = [round(SHARE * count) for count in TRAIN]
    assert sizes(images) == ([t - h for t, h in zip(TRAIN, held, strict=True)], held)
    assert f"so {sum(held)} of {sum(TRAIN)} images are held out" in said(images)
    train, test = Folder().load(images).train.x, Folder().load(images).test.x
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_what_is_held_out_is_part_of_the_digest_and_not_of_where_the_folder_is(
    images: Path,
) -> None:
    shutil.copytree(images, images.parent / "with test")
    shutil.rmtree(images / "test")
    digest = Folder().digest(images)
    assert digest == Folder().digest(images)
    shutil.move(images, images.parent / "elsewhere")
    assert Folder().digest(images.parent / "elsewhere") == digest
    assert Folder().digest(images.parent / "with test") != digest


def test_a_new_image_changes_the_choice_by_one_at_most() -> None:
    files = [f"ant/{k}.jpg" for k in range(100)]
    before = held_out({"ant": files})
    assert len(before) == 20
    shuffled = random.Random(0).sample(files, 100)
    assert held_out({"ant": shuffled}) == before
    assert len(before - held_out({"ant": [*files, "ant/new.jpg"]})) <= 1
    assert held_out({"one": ["one/a.jpg"]}) == set()  # it is needed to train on


def test_a_class_with_one_image_cannot_be_tested_on(images: Path) -> None:
    shutil.rmtree(images / "test")
    for k in range(1, TRAIN[2]):
        (images / "train" / "cat" / f"{k}.png").unlink()
    with pytest.raises(DataError, match=r"test has no usable image of 1 of 3 classes \(cat\)"):
        Folder().digest(images)


# ---------------------------------------------------------------- labels.csv


@pytest.mark.parametrize(
    "columns",
    [
        ("file", "label", "split"),
        ("path", "class", "set"),
        ("Image", "Target", "Subset"),
        (" File Name ", " Label", "SPLIT"),
        ("file_path", "class-name", "split"),
        ("filename", "label", "split"),
    ],
)
def test_columns_may_be_called_as_people_call_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    table(tmp_path / "images", columns, splits=("train", "Train", "TEST", "training", "testing"))
    assert sizes(tmp_path / "images") == ([6, 6, 6], [4, 4, 4])


@pytest.mark.parametrize("splits", [(), ("train",)])
def test_a_table_without_test_rows_has_a_part_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    table(tmp_path / "images", ("file", "label", "split")[: 2 + len(splits)], splits=splits)
    assert sizes(tmp_path / "images") == ([8, 8, 8], [2, 2, 2])
    assert "6 of 30 images are held out" in said(tmp_path / "images")


def test_rows_of_val_are_tested_on_where_no_row_is_of_test_and_else_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    two, three = tmp_path / "two", tmp_path / "three"
    table(two, ("file", "label", "split"), splits=("train", "valid"))
    assert sizes(two) == ([5, 5, 5], [5, 5, 5])
    assert "15 rows of labels.csv of val are tested on" in said(two)
    table(three, ("file", "label", "split"), splits=("train", "train", "val", "test", "test"))
    assert sizes(three) == ([4, 4, 4], [4, 4, 4])
    assert "rows of labels.csv of val, not read: 6" in said(three)


def test_a_row_of_val_takes_a_file_out_of_train(images: Path) -> None:
    (images / "labels.csv").write_text("file,label,split\ntrain/ant/0.png,ant,val\n")
    train, test = sizes(images)
    assert (train[0], test) == (TRAIN[0] - 1, list(TEST))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (("image", "path", "label"), "2 may be the file: image, path"),
        (("picture", "label"), "none is the file"),
        (("file", "kind"), "none is the label"),
        (("file", "class", "target"), "2 may be the label: class, target"),
    ],
)
def test_columns_that_may_be_two_things_or_none_are_refused(
    tmp_path: Path, columns: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "labels.csv").write_text(",".join(columns) + "\na,b,c\n")
    with pytest.raises(DataError, match=reason):
        list_images(tmp_path)


# ---------------------------------------------------------------- what was read before


def more_folders(root: Path) -> None:
    for folder, at in (("Test", 50), ("val", 60), ("Train", 70), ("photos", 80)):
        for k, name in enumerate(CLASSES):
            (root / folder / name).mkdir(parents=True)
            (root / folder / name / "x.png").write_bytes(encoded(picture(at + k, 32, 32)))


def test_folders_beside_train_and_test_change_no_digest(images: Path) -> None:
    more_folders(images)
    assert Folder().digest(images).startswith("5af3bd83f52fa61d47a99f13f924411c")
    text = "file,label,split\nval/ant/x.png,bee,\nphotos/bee/x.png,cat,test\n"
    (images / "labels.csv").write_text(text)
    assert Folder().digest(images).startswith("f04a20cf9a3c7c887b7486413c6ede60")


def test_a_table_that_labels_all_it_tests_on_means_what_it_did(images: Path) -> None:
    more_folders(images)
    shutil.rmtree(images / "test")
    tested = [f"photos/{name}/x.png,{name},test" for name in CLASSES]
    (images / "labels.csv").write_text("\n".join(["file,label,split", *tested, ""]))
    assert Folder().digest(images).startswith("3f2c5464193bbfba993b949de49aee48")
    shutil.rmtree(images / "train")
    of = (("Train", "train"), ("val", ""), ("Test", "test"))
    rows = [f"{part}/{name}/x.png,{name},{split}" for part, split in of for name in CLASSES]
    (images / "labels.csv").write_text("\n".join(["file,label,split", *rows, ""]))
    assert Folder().digest(images).startswith("a394ef2416da23c1d48931c5e8efbd6f")


# ---------------------------------------------------------------- said before a grid runs


def test_data_check_reads_them_and_its_command_runs(images: Path) -> None:
    for folder in (images, images / "train"):
        done = CliRunner().invoke(app, ["data", "check", str(folder)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "read as data.name=folder" in done.stdout
        command = done.stdout.splitlines()[-1].removeprefix("next: curvetune ").split()
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
