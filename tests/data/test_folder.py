import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_folder import CLASSES, TEST, TRAIN, encoded, picture, pixels, write_images
from PIL import Image

from curvetune.config import BiasConfig, CellConfig, DataConfig
from curvetune.config.load import validate
from curvetune.data import Folder, find_source
from curvetune.data.splits import make_split
from curvetune.errors import ConfigError, DataError
from curvetune.training.split import prepare_splits

# Addresses for a digest of 64 times "d", made by the commit before folders (b576f6b).
BEFORE_CELL, BEFORE_PROBE = "d8ff515c85713359", "0dab47ab90b43bfc"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a --data-dir with 19 training and 8 test images of three classes."""
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return tmp_path / "images"


def rows(folder: Path, *lines: str) -> None:
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- the layout


def test_a_class_is_a_folder_and_images_come_in_the_order_of_their_names(images: Path) -> None:
    data = Folder().load(images)
    assert data.class_names == CLASSES
    assert np.bincount(data.train.y).tolist() == list(TRAIN)
    assert np.bincount(data.test.y).tolist() == list(TEST)
    assert data.train.x.shape == (sum(TRAIN), 3, 32, 32)
    assert (data.train.x[0].dtype, data.train.y.dtype) == (np.uint8, np.int64)
    for k, x in enumerate([*data.train.x, *data.test.x]):  # of the size they have: pixel by pixel
        np.testing.assert_array_equal(x, pixels(k, 32, 32).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [8, 48])
def test_images_are_resized_as_pillow_does(images: Path, size: int) -> None:
    data = Folder(size).load(images)
    expected = picture(0, 32, 32).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.train.x[0], np.asarray(expected).transpose(2, 0, 1))
    assert data.pad == size // 8


def test_labels_come_without_the_images(images: Path) -> None:
    np.testing.assert_array_equal(Folder().train_labels(images), Folder().load(images).train.y)


def test_every_format_is_read(images: Path) -> None:
    suffixes = {"jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF"}
    suffixes |= {"tif": "TIFF", "ppm": "PPM"}
    for suffix, name in suffixes.items():
        (images / "train" / "ant" / f"new-{suffix}.{suffix}").write_bytes(encoded(picture(), name))
    report = Folder().report(images)
    assert report.train == sum(TRAIN) + 7
    assert report.converted == {"palette": 1}
    assert report.bad == ()


def test_hidden_files_and_others_are_not_read(images: Path) -> None:
    for name in (".DS_Store", "train/.cache/a.png", "train/ant/.b.png", "train/ant/notes.txt"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_text("x")
    report = Folder().report(images)
    assert (report.train, report.bad) == (sum(TRAIN), ())
    assert report.left_out.others == ("train/ant/notes.txt",)


@pytest.mark.parametrize(
    ("take_away", "expected"),
    [
        ("train", "no folder there has images for train"),
        ("train/bee", "cannot be used"),  # test/bee is of no class then
        ("test/bee", r"test has no usable image of 1 of 3 classes \(bee\)"),
        (".", "no folder there has images for train"),
    ],
)
def test_a_folder_that_lacks_something_is_told_what_is_expected(
    images: Path, take_away: str, expected: str
) -> None:
    shutil.rmtree(images / take_away)
    with pytest.raises(DataError, match=expected):
        Folder().load(images)


def test_what_is_expected_is_said_where_nothing_is(tmp_path: Path) -> None:
    for data_dir in (tmp_path, tmp_path / "none", None):
        with pytest.raises(DataError, match=r"allowed is DIR/train/<class>/\*\.png with DIR/test"):
            Folder().digest(data_dir)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "only").mkdir(parents=True)
        (tmp_path / split / "only" / "0.png").write_bytes(encoded(picture()))
    with pytest.raises(DataError, match="1 classes in train; at least 2 are needed"):
        Folder().load(tmp_path)


HOSTILE = ("<script>alert(1)<b>", "[red]Käse[bold] ..", "=1+1\x1b[31m\n; rm -rf")


def test_a_class_can_be_called_anything(tmp_path: Path, images: Path) -> None:
    write_images(tmp_path / "odd", HOSTILE)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    data = Folder().load(tmp_path / "odd")
    assert data.class_names == tuple(sorted(HOSTILE))
    assert sorted(np.bincount(data.train.y)) == sorted(TRAIN)
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


# ---------------------------------------------------------------- labels.csv


def test_labels_csv_labels_what_lies_in_no_class_folder_and_others_anew(images: Path) -> None:
    (images / "more").mkdir()
    (images / "more" / "a.png").write_bytes(encoded(picture(100, 32, 32)))
    rows(images, "file,label,split", "more/a.png,bee,test", "train/ant/0.png,cat,", "")
    data = Folder().load(images)
    assert np.bincount(data.train.y).tolist() == [7, 6, 6]
    assert np.bincount(data.test.y).tolist() == [3, 4, 2]
    assert data.train.y[0] == 2


def test_labels_csv_alone_gives_the_classes_and_numbers_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    lines = ["file,label,split"]
    for k in range(24):
        (tmp_path / "all" / f"{k:02}.png").write_bytes(encoded(picture(k)))
        lines.append(f"all/{k:02}.png,{k % 12},{'train' if k < 12 else 'test'}")
    rows(tmp_path, *lines)
    data = Folder().load(tmp_path)
    assert data.class_names == tuple(map(str, range(12)))
    assert data.train.y.tolist() == data.test.y.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/ant/0.png,dog,", "label 'dog' in labels.csv; allowed are ant, bee, cat"),
        ("train/ant/0.png,-1,", "label '-1' in labels.csv is a negative number; allowed are ant"),
        ("train/ant/0.png,,", "label '' in labels.csv is no label; allowed are ant, bee, cat"),
        (f"train/ant/0.png,{'9' * 5000},", "label '9999"),
        ("train/ant/0.png,bee,dev", "split 'dev' in labels.csv; allowed are train and test"),
        ("train/ant/none.png,bee,", "no such file"),
        ("../outside.png,bee,train", "labels.csv names a file outside the folder"),
        ("/etc/passwd,bee,train", "labels.csv names a file outside the folder"),
        ("train/ant,bee,train", "a folder, not a file"),
        ("labels.csv,bee,train", "no image; allowed are PNG"),
    ],
)
def test_a_row_that_means_nothing_is_a_bad_image(images: Path, line: str, reason: str) -> None:
    (images.parent / "outside.png").write_bytes(encoded(picture()))
    rows(images, "file,label,split", line)
    with pytest.raises(DataError, match=r"1 of 2[78] images cannot be used"):
        Folder().load(images)
    ((_, found),) = Folder(on_bad="skip").report(images).bad
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "its columns are none; allowed are file,label"),
        (b"name,class\na,b\n", "its columns are name, class"),
        (b"file,label\ntrain/ant/0.png,bee\ntrain/ant/./0.png,cat\n", "has a row already"),
        ("file,label\ntrain/größe.png,bee\n".encode("latin-1"), "write it as CSV in UTF-8"),
        (b'file,label\n"' + b"x" * 200_000 + b'",bee\n', "field larger than field limit"),
    ],
)
def test_a_labels_csv_that_cannot_be_read_is_refused(
    images: Path, content: bytes, expected: str
) -> None:
    (images / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        Folder().load(images)


# ---------------------------------------------------------------- the digest


def _move(folder: Path) -> Path:
    return folder.rename(folder.parent / "elsewhere")


def _touch(folder: Path) -> Path:
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    return folder


def _add_another_file(folder: Path) -> Path:
    (folder / "train" / "ant" / "notes.txt").write_text("x")
    return folder


def _link(folder: Path) -> Path:
    real = folder.rename(folder.parent / "real")
    folder.symlink_to(real)
    return folder


@pytest.mark.parametrize("change", [_move, _touch, _add_another_file, _link])
def test_the_digest_is_of_the_images_and_not_of_their_place(
    images: Path, change: Callable[[Path], Path]
) -> None:
    before = Folder().digest(images)
    assert Folder().digest(change(images)) == before
    assert len(bytes.fromhex(before)) == 32


def _rename_an_image(folder: Path) -> None:
    (folder / "train" / "ant" / "0.png").rename(folder / "train" / "ant" / "9.png")


def _rename_a_class(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / "aunt")


def _relabel(folder: Path) -> None:
    rows(folder, "file,label", "train/ant/0.png,bee")


def _change_a_byte(folder: Path) -> None:
    path = folder / "test" / "cat" / "0.png"
    path.write_bytes(path.read_bytes() + b"\0")


def _swap_train_and_test(folder: Path) -> None:
    (folder / "train").rename(folder / "t")
    (folder / "test").rename(folder / "train")
    (folder / "t").rename(folder / "test")


@pytest.mark.parametrize(
    "change",
    [_rename_an_image, _rename_a_class, _relabel, _change_a_byte, _swap_train_and_test],
)
def test_the_digest_changes_with_a_name_a_label_and_a_byte(
    images: Path, change: Callable[[Path], None]
) -> None:
    before = Folder().digest(images)
    change(images)
    assert Folder().digest(images) != before


def test_leaving_out_a_bad_image_is_the_same_data_as_not_having_it(images: Path) -> None:
    before = Folder().digest(images)
    (images / "train" / "ant" / "bad.png").write_bytes(b"")
    assert Folder(on_bad="skip").digest(images) == before
    (images / "train" / "ant" / "0.png").write_bytes(b"")
    assert Folder(on_bad="skip").digest(images) != before


def test_images_are_decoded_once_per_machine(
    images: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = Folder().load(images)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Image, "open", fail)
    shutil.move(images, images.parent / "elsewhere")
    second = Folder().load(images.parent / "elsewhere")
    np.testing.assert_array_equal(second.train.x, first.train.x)
    np.testing.assert_array_equal(second.test.y, first.test.y)
    assert caplog.record_tuples == []


# ---------------------------------------------------------------- cells


def test_an_imbalance_of_1_keeps_the_images_that_are_given(images: Path) -> None:
    data = Folder().load(images)
    config = DataConfig(name="folder", meta_per_class=2)
    split = make_split(data.train.y, data.test.y, config, BiasConfig(), 0, 3)
    assert np.bincount(split.y).tolist() == [6, 4, 3]
    np.testing.assert_array_equal(split.y, data.train.y[split.train])
    assert np.bincount(data.train.y[split.meta]).tolist() == [2, 2, 2]
    assert len(split.test) == sum(TEST)
    limited = config.model_copy(update={"per_class_limit": 4})
    split = make_split(data.train.y, data.test.y, limited, BiasConfig(), 0, 3)
    assert np.bincount(split.y).tolist() == [4, 4, 3]


def test_more_imbalance_is_a_long_tail_as_for_any_other_data(images: Path) -> None:
    data = Folder().load(images)
    config = DataConfig(name="folder", meta_per_class=0)
    split = make_split(data.train.y, data.test.y, config, BiasConfig(imbalance=5), 0, 3)
    assert np.bincount(split.y).tolist() == [5, 2, 1]


def test_the_size_of_images_is_part_of_a_cell_and_its_default_changes_no_address(
    images: Path,
) -> None:
    # of cells that were stored before the option existed
    assert CellConfig().cell_id("d" * 64) == BEFORE_CELL
    curvenet = CellConfig.model_validate(
        {"data": {"name": "cifar10"}, "method": {"name": "curvenet"}}
        | {"probe": {"loss_form": "float32"}}  # as there was nothing else then
    )
    assert curvenet.probe_id("d" * 64) == BEFORE_PROBE
    sizes = [CellConfig(data=DataConfig(name="folder", image_size=s)) for s in (32, 64)]
    assert len({cell.cell_id("d" * 64) for cell in sizes}) == 2
    with pytest.raises(ConfigError, match="image_size=64: the images of cifar10 stay as they are"):
        validate({"name": "cifar10", "image_size": 64}, DataConfig, "here")


def test_a_split_of_a_folder_is_stored_like_any_other(images: Path, tmp_path: Path) -> None:
    cell = CellConfig(data=DataConfig(name="folder", meta_per_class=1))
    source = find_source("folder")
    prepare_splits([cell], source.digest(images), source.load(images), tmp_path / "storage")
    assert len(list((tmp_path / "storage" / "splits").iterdir())) == 1


def test_planning_a_folder_imports_no_pytorch(images: Path) -> None:
    code = (
        "import sys, pathlib, curvetune.data as data\n"
        "assert data.digest('folder', pathlib.Path(sys.argv[1]))\n"
        "assert data.train_labels('folder', pathlib.Path(sys.argv[1])).any()\n"
        "print({'torch', 'torchvision', 'ray'} & set(sys.modules) or 'none')"
    )
    command = [sys.executable, "-c", code, str(images)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "none\n"


def test_plan_json_says_what_became_of_the_files(images: Path, tmp_path: Path) -> None:
    (images / "train" / "ant" / "bad\x1b[31m.png").write_bytes(b"")
    (images / "train" / "ant" / "grey.png").write_bytes(encoded(picture().convert("L")))
    (tmp_path / "own.yaml").write_text(
        "base: {data: {name: folder, meta_per_class: 1}}\ngrid: {seed: [0]}"
    )
    command = [sys.executable, "-c", "from curvetune.cli import main; main()", "plan", "own.yaml"]
    command += ["--data-dir", str(images), "--json", "--on-bad", "skip"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["images"]
    assert (found["train"], found["test"], found["classes"]) == (20, 8, list(CLASSES))
    assert found["converted"] == {"grey": 1}
    assert found["bad"] == [{"file": "train/ant/bad\x1b[31m.png", "reason": "empty file"}]
    assert r"train/ant/bad\x1b[31m.png: empty file" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["cache", "images", "own.yaml"]
