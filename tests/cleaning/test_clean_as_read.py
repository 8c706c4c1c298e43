"""What `clean` writes is read again as it was meant, whatever form the data has."""

import json
import shutil
from pathlib import Path

import pytest
from cleaned import LISTS, labels_of, run
from image_folder import write_images
from public_sets import put, write
from short_cells import train_on

from curvetune import data
from curvetune.cleaning.change import Change
from curvetune.cleaning.clean import Wanted, clean
from curvetune.cleaning.files import write_class_folders, write_list
from curvetune.cleaning.rows import Rewriting, labels_csv_columns
from curvetune.cleaning.target import new_folder
from curvetune.data.stream.own import OwnImages
from curvetune.errors import ConfigError


def relabelled(name: str, images: Path, out: Path, file: str, new: str) -> None:
    """Write a folder or a list with another label of one of its images."""
    source = data.find_source(name)
    assert isinstance(source, OwnImages)
    table, files = source.table(images), source.train_files(images)
    k = files.index(file)
    changes = {k: Change(k, int(table.y[k]), table.class_names.index(new), None, "mine")}
    with new_folder(out, images, copies=False) as target:
        if name == "folder":
            write_class_folders(images, table, changes, target)
        else:
            (path,) = (path for path in images.iterdir() if path.suffix in (".csv", ".jsonl"))
            write_list(path, table, changes, target)


def test_rows_of_labels_csv_are_found_as_its_reader_finds_them(tmp_path: Path) -> None:
    path, out = tmp_path / "labels.csv", tmp_path / "out.csv"
    rows = ["note,Image Path,Target", "x,0.png,ant", "y,1.png", "", "z,2.png,ant", "u,3.png,bee"]
    write(path, *rows)
    y = {"0.png": 0, "2.png": 0, "3.png": 1}
    Rewriting(("ant", "bee"), y, {"2.png": 1}).write(path, out, labels_csv_columns)
    wanted = [row.replace("2.png,ant", "2.png,bee") for row in rows if row]
    assert out.read_text().splitlines() == wanted
    Rewriting(("ant", "bee"), y, {"2.png": None}).write(path, out, labels_csv_columns)
    assert out.read_text().splitlines() == [row for row in rows if row and "2.png" not in row]


def test_a_path_in_two_forms_of_unicode_is_two_files(tmp_path: Path) -> None:
    path, out = tmp_path / "labels.csv", tmp_path / "out.csv"
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    write(path, "file,label", f"{composed},ant", f"{apart},ant")
    y = {composed: 0, apart: 0}
    Rewriting(("ant", "bee"), y, {apart: 1}).write(path, out, labels_csv_columns)
    assert out.read_text() == f"file,label\n{composed},ant\n{apart},bee\n"
    Rewriting(("ant", "bee"), {composed: 0}, {composed: 1}, [apart]).write(
        path, out, labels_csv_columns
    )
    assert out.read_text() == f"file,label\n{composed},bee\n{apart},ant\n"


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_new_label_is_not_called_verified_or_clean(name: str, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    splits = ["train"] * 4 + ["test"] * 2
    rows = [
        {"path": f"{k}.png", "label": "ab"[k % 2], "split": split, "by": "a\u2028b"}
        | {"verified": 0 if k == 0 else 1, "clean": int(k > 1), "class": "no label"}
        for k, split in enumerate(splits)
    ]
    for k in range(6):
        put(images / f"{k}.png", k)
    if name.endswith("jsonl"):
        write(images / name, *(json.dumps(row, ensure_ascii=False) for row in rows))
    else:
        LISTS[name](images / name, rows)
    relabelled("list", images, out, "0.png", "b")
    source = data.find_source("list")
    assert isinstance(source, OwnImages)
    table = source.table(out)
    assert table.y[: table.train].tolist() == [1, 1, 0, 1]
    assert table.verified is not None
    assert table.verified.tolist() == [-1, 1, 1, 1]


def test_a_list_that_the_report_would_be_written_over_is_refused(tmp_path: Path) -> None:
    images, storage, out = tmp_path / "images", tmp_path / "storage", tmp_path / "out"
    rows = [
        {"path": f"{k}.png", "label": "ab"[k % 2], "split": "train" if k < 6 else "test"}
        for k in range(8)
    ]
    for k in range(8):
        put(images / f"{k}.png", k)
    LISTS["list.csv"](images / "cleaned.csv", rows)
    grid = train_on(storage, images, "list")
    with pytest.raises(ConfigError, match="rename the list"):
        clean(storage, grid, images, out, Wanted())


def test_a_class_may_be_called_as_the_part_is(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for part in ("train", "test"):
        for k in range(4):
            put(images / part / ("bee" if k % 2 else "train") / f"{k}.png", k)
    relabelled("folder", images, out, "train/train/0.png", "bee")
    assert (out / "train" / "bee" / "0.png").is_file()
    assert labels_of("folder", out)["train/bee/0.png"] == "bee"


def test_images_that_were_held_out_stay_the_ones_to_test_on(tmp_path: Path) -> None:
    images, storage = tmp_path / "images", tmp_path / "storage"
    write_images(images)
    for folder in [*(images / "train").iterdir()]:  # a plain folder of classes, and nothing else
        folder.rename(images / folder.name)
    shutil.rmtree(images / "test")
    (images / "train").rmdir()
    before = held_out_of(images)
    grid = train_on(storage, images, "folder")
    args = ("--data-dir", images, "--storage", storage, "--top", 2, "--out", tmp_path / "out")
    run("clean", grid, *args)
    after = held_out_of(tmp_path / "out")
    assert after == {f"test/{name}" for name in before}
    assert len(labels_of("folder", tmp_path / "out")) == len(labels_of("folder", images)) - 2


def held_out_of(images: Path) -> set[str]:
    """Return the files that are tested on."""
    source = data.find_source("folder")
    assert isinstance(source, OwnImages)
    table = source.table(images)
    return {table.encoded.name(k) for k in range(table.train, len(table.encoded))}
