"""Which files of a folder are read, and which class each of them is of."""

import os
import unicodedata
from pathlib import Path

import pytest
from image_folder import encoded, picture, write_images
from listing_helpers import PNG, folder_of, labelled, labels, problems, write

from curvetune.data import Folder
from curvetune.data.decode import FORMATS, SUFFIXES, decode
from curvetune.data.listing import list_images
from curvetune.errors import DataError

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


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
