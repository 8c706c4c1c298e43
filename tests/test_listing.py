"""Which files of a folder are read, and which class each of them is of."""

import os
import unicodedata
from pathlib import Path

import pytest
from image_folder import encoded, picture, write_images

from curvetune.cli.images import tell_images
from curvetune.data import Folder
from curvetune.data.decode import FORMATS, SUFFIXES, decode
from curvetune.data.listing import LeftOut, Listing, list_images
from curvetune.errors import DataError

PNG = encoded(picture())
NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(root: Path, *files: str, content: bytes = PNG) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


def folder_of(root: Path, *classes: str) -> None:
    """Write two training images and one test image of each class."""
    for name in classes:
        write(root, f"train/{name}/a.png", f"train/{name}/b.png", f"test/{name}/a.png")


def labels(root: Path, *rows: str) -> None:
    text = "\n".join(["file,label,split", *rows]) + "\n"
    (root / "labels.csv").write_text(text, encoding="utf-8")


def labelled(listing: Listing) -> dict[str, str]:
    return {one.file: one.label for one in listing.files if one.problem is None}


def problems(listing: Listing) -> dict[str, str]:
    return {one.file: one.problem for one in listing.files if one.problem is not None}


# ---------------------------------------------------------------- labels that are numbers


@pytest.mark.parametrize("names", [("001", "002", "003"), ("1", "2", "3"), ("01", "2", "0003")])
def test_labels_that_lost_their_zeros_are_the_classes_of_the_same_number(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder_of(tmp_path, *names)
    write(tmp_path, "more/1.png", "more/2.png", "more/3.png")
    labels(tmp_path, "more/1.png,1,", "more/2.png,2.0,", "more/3.png,003,test")
    found = labelled(list_images(tmp_path))
    by_number = {int(name): name for name in names}
    for k in (1, 2, 3):
        assert found[f"more/{k}.png"] == by_number[k]


@pytest.mark.parametrize("names", [("001", "002"), ("0", "1", "10", "11", "2"), ("1", "2", "x")])
def test_a_label_that_no_class_is_called_is_bad_and_never_a_position(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder_of(tmp_path, *names)
    write(tmp_path, "more/a.png", "more/b.png")
    labels(tmp_path, "more/a.png,4,", "more/b.png,3,")
    listing = list_images(tmp_path)
    assert problems(listing) == {
        f"more/{file}.png": f"label '{label}' in labels.csv; allowed are {', '.join(sorted(names))}"
        ", compared as numbers"
        for file, label in (("a", "4"), ("b", "3"))
    }
    assert not listing.counted


def test_a_number_that_two_classes_are_is_bad_unless_it_is_written_as_one_is(
    tmp_path: Path,
) -> None:
    folder_of(tmp_path, "1", "001")
    write(tmp_path, "more/a.png", "more/b.png")
    labels(tmp_path, "more/a.png,1,", "more/b.png,01,")
    listing = list_images(tmp_path)
    assert labelled(listing)["more/a.png"] == "1"
    assert "means 2 classes ('001', '1')" in problems(listing)["more/b.png"]


def test_a_test_folder_is_a_class_of_train_as_a_number(tmp_path: Path) -> None:
    write(tmp_path, "train/001/a.png", "train/002/a.png", "test/1/a.png", "test/2/a.png")
    write(tmp_path, "test/0/a.png")
    listing = list_images(tmp_path)
    found = labelled(listing)
    assert (found["test/1/a.png"], found["test/2/a.png"]) == ("001", "002")
    assert problems(listing) == {
        "test/0/a.png": "no class '0' in train; allowed are 001, 002, compared as numbers"
    }


def test_numbers_count_named_classes_from_0(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog", "horse")
    write(tmp_path, *(f"more/{k}.png" for k in range(3)))
    labels(tmp_path, *(f"more/{k}.png,{k}," for k in range(3)))
    listing = list_images(tmp_path)
    assert [labelled(listing)[f"more/{k}.png"] for k in range(3)] == ["cat", "dog", "horse"]
    assert listing.counted


@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 2], [2], [0, 1, 2, 3], [4]])
def test_numbers_that_do_not_say_from_where_they_count_are_an_error(
    tmp_path: Path, numbers: list[int]
) -> None:
    folder_of(tmp_path, "cat", "dog", "horse")
    write(tmp_path, *(f"more/{k}.png" for k in numbers))
    labels(tmp_path, *(f"more/{k}.png,{k}," for k in numbers))
    with pytest.raises(
        DataError,
        match=rf"labels.csv: its labels are numbers from {numbers[0]} to {numbers[-1]}, and no "
        r"class is called so; allowed are cat, dog, horse. Numbers count from 0, up to 2",
    ):
        list_images(tmp_path)


def test_names_and_numbers_in_one_labels_csv_are_not_both_labels(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    write(tmp_path, "more/a.png", "more/b.png")
    labels(tmp_path, "more/a.png,dog,", "more/b.png,0,")
    listing = list_images(tmp_path)
    assert labelled(listing)["more/a.png"] == "dog"
    assert problems(listing) == {
        "more/b.png": "label '0' in labels.csv is a number where other labels are none; "
        "allowed are cat, dog"
    }


def test_labels_alone_that_are_the_same_number_are_one_class(tmp_path: Path) -> None:
    write(tmp_path, *(f"all/{k}.png" for k in range(8)))
    given = ["1", "01", "1.0", "2", "3.5", "1e0", "002", "2.0"]
    splits = ["train"] * 6 + ["test"] * 2
    rows = [
        f"all/{k}.png,{label},{split}"
        for k, (label, split) in enumerate(zip(given, splits, strict=True))
    ]
    labels(tmp_path, *rows)
    listing = list_images(tmp_path)
    assert listing.classes == ("1", "2")
    assert list(labelled(listing).values()) == ["1", "1", "1", "2", "2", "2"]
    assert problems(listing) == {
        "all/4.png": "label '3.5' in labels.csv is a fraction; allowed are 1, 2, compared as "
        "numbers",
        "all/5.png": "label '1e0' in labels.csv is a number that is not written in the digits 0 "
        "to 9; allowed are 1, 2, compared as numbers",
    }


# ---------------------------------------------------------------- names in two forms


@pytest.mark.parametrize(("train", "other"), [(NFC, NFD), (NFD, NFC)])
def test_a_class_is_the_same_in_both_forms_of_its_name(
    tmp_path: Path, train: str, other: str
) -> None:
    write(tmp_path, f"train/{train}/a.png", "train/tea/a.png", "more/a.png")
    write(tmp_path, f"test/{other}/a.png", "test/tea/a.png")
    labels(tmp_path, f"more/a.png,{other},test")
    listing = list_images(tmp_path)
    assert listing.classes == tuple(sorted([train, "tea"]))
    assert labelled(listing)["more/a.png"] == labelled(listing)[f"test/{other}/a.png"] == train
    assert problems(listing) == {}


@pytest.mark.parametrize("name", ["é.png", f"{NFC}/ü.png", "한/국.png"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_row_finds_its_file_in_either_form(
    tmp_path: Path, name: str, forms: tuple[str, str]
) -> None:
    disk, written = (unicodedata.normalize(form, name) for form in forms)
    folder_of(tmp_path, "ant", "bee")
    write(tmp_path, f"train/ant/{disk}", f"more/{disk}")
    labels(tmp_path, f"train/ant/{written},bee,", f"more/{written},bee,")
    found = labelled(list_images(tmp_path))
    assert found[f"train/ant/{disk}"] == found[f"more/{disk}"] == "bee"
    assert len(found) == 8
    labels(tmp_path, f"more/{written},bee,", f"more/{disk},ant,")
    with pytest.raises(DataError, match="has a row already"):
        list_images(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_two_class_folders_that_look_the_same_are_an_error_that_shows_them(
    tmp_path: Path, split: str
) -> None:
    folder_of(tmp_path, "tea", NFC)
    write(tmp_path, f"{split}/{NFD}/b.png")
    with pytest.raises(DataError, match=r"'cafe\\u0301' and 'caf\\xe9' have the same name in two"):
        list_images(tmp_path)


def test_a_class_name_that_is_no_utf_8_is_a_name(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    folder_of(tmp_path, odd, "tea")
    assert Folder().load(tmp_path).class_names == tuple(sorted([odd, "tea"]))
    assert len(Folder().digest(tmp_path)) == 64


# ---------------------------------------------------------------- what is read


def test_images_are_read_at_any_depth(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    deep = ["train/cat/session2/c.png", "train/cat/session2/x/y/d.png", "test/dog/v/e.png"]
    write(tmp_path, *deep, "train/cat/.hidden/f.png", "train/cat/session2/.g.png")
    found = labelled(list_images(tmp_path))
    assert {file: label for file, label in found.items() if file in deep} == {
        deep[0]: "cat",
        deep[1]: "cat",
        deep[2]: "dog",
    }
    assert len(found) == 6 + 3


def test_moving_an_image_deeper_is_other_data(tmp_path: Path) -> None:
    write_images(tmp_path)
    before = Folder().digest(tmp_path)
    (tmp_path / "train" / "ant" / "more").mkdir()
    (tmp_path / "train" / "ant" / "0.png").rename(tmp_path / "train" / "ant" / "more" / "0.png")
    assert Folder().digest(tmp_path) != before
    assert Folder().load(tmp_path).train.y.tolist().count(0) == 8


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "session2", "/"])
def test_a_link_to_a_folder_above_or_beside_adds_nothing_and_ends(
    tmp_path: Path, target: str
) -> None:
    root = tmp_path / "data"
    folder_of(root, "cat", "dog")
    write(root, "train/cat/session2/c.png")
    before = list_images(root)
    (root / "train" / "cat" / "loop").symlink_to(target)
    (root / "train" / "cat" / "session2" / "back").symlink_to("..")
    assert list_images(root) == before


def test_many_links_to_each_other_end(tmp_path: Path) -> None:
    root = tmp_path / "data"
    folder_of(root, "cat", "dog")
    steps = [tmp_path / f"step{k}" for k in range(30)]  # two ways at each: 2**30 paths
    for step, following in zip(steps, [*steps[1:], root / "train" / "dog"], strict=True):
        step.mkdir()
        for way in ("left", "right"):
            (step / way).symlink_to(following)
    (root / "train" / "cat" / "first").symlink_to(steps[0])
    assert list(labelled(list_images(root)).values()).count("cat") == 3 + 2


def test_a_link_to_images_elsewhere_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    folder_of(root, "cat", "dog")
    write(tmp_path, "elsewhere/in/c.png")
    (root / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "dog" / "file.png").symlink_to(tmp_path / "elsewhere" / "in" / "c.png")
    found = labelled(list_images(root))
    assert found["train/cat/more/in/c.png"] == "cat"
    assert found["train/dog/file.png"] == "dog"


def test_a_folder_called_like_an_image_is_bad_and_not_looked_into(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    write(tmp_path, "train/cat/deep/x.png/inside.png")
    assert problems(list_images(tmp_path)) == {"train/cat/deep/x.png": "a folder, not a file"}


SAVED = {".jfif": "JPEG", ".jpe": "JPEG", ".JPEG": "JPEG", ".apng": "PNG", ".dib": "BMP"}
SAVED |= {".pnm": "PPM", ".pbm": "PPM", ".mpo": "MPO"}


@pytest.mark.parametrize("suffix", SAVED)
def test_other_extensions_of_the_same_formats_are_read(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path)
    content = encoded(picture(), SAVED[suffix])
    write(tmp_path, f"train/ant/more{suffix}", content=content)
    report = Folder().report(tmp_path)
    assert (report.train, report.bad, report.converted) == (20, (), {})


def test_every_extension_stands_for_a_format_that_pillow_has() -> None:
    from PIL import Image

    registered = Image.registered_extensions()
    for name, suffix in ((registered[s], s) for s in SUFFIXES if s in registered):
        assert SUFFIXES[suffix] == {"DIB": "BMP", "MPO": "JPEG"}.get(name, name)
    ours = {suffix for suffix, name in registered.items() if name in FORMATS}
    assert ours <= set(SUFFIXES)
    assert decode(PNG, ".png", 8).changes == ()


# ---------------------------------------------------------------- what is left out


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


def test_people_are_told_what_is_left_out_and_what_numbers_stand_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path)
    write(tmp_path, "train/ant/a.heic", "train/ant/a.txt", "dev/a.png", content=b"x")
    labels(tmp_path, "train/ant/0.png,0,", "train/ant/1.png,2,")
    report = Folder(on_bad="skip").report(tmp_path)
    tell_images(report)
    assert capsys.readouterr().err.splitlines() == [
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


def test_a_class_folder_may_be_a_link_and_two_may_lead_to_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root, "test/cat/a.png", "test/dog/a.png")
    write(tmp_path, "shared/a.png", "shared/in/b.png")
    (root / "train").mkdir()
    for name in ("cat", "dog"):
        (root / "train" / name).symlink_to(tmp_path / "shared")
    found = labelled(list_images(root))
    assert {file: found[file] for file in found if file.startswith("train")} == {
        f"train/{name}/{file}": name for name in ("cat", "dog") for file in ("a.png", "in/b.png")
    }
