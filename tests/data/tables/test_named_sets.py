"""Sets that are known by name, each in its public form, with what people trip over in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_folder import pixels
from public_sets import (
    SIDE,
    put,
    write,
    write_animal10n,
    write_clothing1m,
    write_cnwl,
    write_food101n,
    write_imagenet_lt,
    write_webvision,
)

from curvetune.data.tables.forms import FORMS, read_table
from curvetune.data.tables.table import ANOTHER, UNKNOWN, Table
from curvetune.errors import DataError

WRITERS: dict[str, Callable[[Path], None]] = {
    "clothing1m": write_clothing1m,
    "food101n": write_food101n,
    "webvision_mini": write_webvision,
    "animal10n": write_animal10n,
    "cnwl_red": write_cnwl,
    "imagenet_lt": write_imagenet_lt,
}


def table_of(name: str, root: Path) -> Table:
    WRITERS[name](root)
    return read_table(name, root, "0.4" if name.startswith("cnwl") else None)


def names(table: Table, positions: range) -> list[str]:
    return [table.encoded.name(k) for k in positions]


@pytest.mark.parametrize("name", WRITERS)
def test_every_row_leads_to_an_image(name: str, tmp_path: Path) -> None:
    table = table_of(name, tmp_path)
    assert len(table.encoded) == len(table.y) > table.train > 0
    contents = table.encoded.read(np.arange(len(table.y)))
    assert all(content.startswith(b"\x89PNG") for content in contents)
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize("name", FORMS)
def test_where_nothing_is_the_form_that_is_expected_is_told(name: str, tmp_path: Path) -> None:
    variant = "0.4" if name.startswith("cnwl") else None
    for data_dir in (tmp_path, None):
        with pytest.raises(DataError, match=r"allowed is .*(DIR|list)") as raised:
            read_table(name, data_dir, variant)
        assert f"no {name} there" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clothing1m", "noisy_train_key_list.txt"),
        ("food101n", "Food-101N_release/meta/imagelist.tsv"),
        ("webvision_mini", "info/train_filelist_google.txt"),
        ("imagenet_lt", "ImageNet_LT_train.txt"),
    ],
)
def test_a_path_that_leaves_the_folder_is_refused_with_its_line(
    name: str, file: str, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path)
    lines = (tmp_path / file).read_text().splitlines()
    lines[1] = f"../../{lines[1]}"
    write(tmp_path / file, *lines)
    with pytest.raises(DataError, match=r"line 2: .*outside the folder; allowed is a path within"):
        read_table(name, tmp_path)


# ---------------------------------------------------------------- Clothing1M


def test_names_with_commas_and_blanks_end_at_the_last_blank(tmp_path: Path) -> None:
    table = table_of("clothing1m", tmp_path)
    assert names(table, range(2)) == ["images/0/a,b c0.jpg", "images/0/a,b c1.jpg"]
    assert table.y[:28].tolist() == [k % 14 for k in range(28)]


def test_the_validation_images_are_the_clean_set_and_the_test_images_the_test_set(
    tmp_path: Path,
) -> None:
    table = table_of("clothing1m", tmp_path)
    assert table.clean is not None
    assert table.clean.tolist() == list(range(28, 42))
    assert names(table, range(28, 29)) == ["images/1/10.jpg"]
    assert names(table, range(table.train, table.train + 1)) == ["images/2/20.jpg"]


def test_a_clean_label_of_a_noisy_image_is_its_true_one(tmp_path: Path) -> None:
    table = table_of("clothing1m", tmp_path)
    assert table.y_true is not None
    assert table.y_true[:3].tolist() == [0, 5, UNKNOWN]
    assert table.y[:3].tolist() == [0, 1, 2]


def test_lists_in_annotations_are_found(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    (tmp_path / "annotations").mkdir()
    for path in tmp_path.glob("*.txt"):
        shutil.move(path, tmp_path / "annotations")
    assert read_table("clothing1m", tmp_path).train == 42


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("images/0/x.jpg", r"line 3: 'images/0/x.jpg' has no label; allowed is a path, a blank"),
        ("images/0/x.jpg 14", r"line 3: .* has the label 14; allowed .* from 0 to 13"),
        ("images/0/x.jpg -1", r"line 3: .* has the label -1"),
    ],
)
def test_a_line_without_a_label_of_the_classes_is_told(
    line: str, said: str, tmp_path: Path
) -> None:
    write_clothing1m(tmp_path)
    lines = (tmp_path / "noisy_label_kv.txt").read_text().splitlines()
    write(tmp_path / "noisy_label_kv.txt", *lines[:2], line, *lines[3:])
    with pytest.raises(DataError, match=said):
        read_table("clothing1m", tmp_path)


def test_a_key_without_a_label_is_told_with_both_lists(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    with (tmp_path / "clean_test_key_list.txt").open("a") as file:
        file.write("images/9/new.jpg\n")
    with pytest.raises(DataError, match=r"clean_test.*line 15: .*no label in clean_label_kv.txt"):
        read_table("clothing1m", tmp_path)


def test_folders_without_lists_are_told_how_they_can_be_read(tmp_path: Path) -> None:
    put(tmp_path / "noisy_train/0/a.jpg", 0)
    with pytest.raises(DataError, match=r"read as data.name=folder once they are called train/"):
        read_table("clothing1m", tmp_path)


# ---------------------------------------------------------------- Food-101N


def test_the_header_of_the_classes_is_no_class(tmp_path: Path) -> None:
    assert table_of("food101n", tmp_path).class_names == ("apple_pie", "ramen")


def test_the_test_set_is_food_101_s_and_not_the_verified_images(tmp_path: Path) -> None:
    table = table_of("food101n", tmp_path)
    tested = names(table, range(table.train, len(table.y)))
    assert tested == [
        f"food-101/images/{c}/{k}.jpg" for c in ("apple_pie", "ramen") for k in (0, 1)
    ]
    shutil.rmtree(tmp_path / "food-101")
    with pytest.raises(DataError, match=r"the test set is that of Food-101, a download of its own"):
        read_table("food101n", tmp_path)


def test_one_hash_in_two_classes_is_two_images(tmp_path: Path) -> None:
    table = table_of("food101n", tmp_path)
    known = dict(zip(names(table, range(table.train)), table.y[: table.train], strict=True))
    base = "Food-101N_release/images"
    assert (known[f"{base}/apple_pie/h0.jpg"], known[f"{base}/ramen/h0.jpg"]) == (0, 1)


def test_a_verification_says_right_or_wrong_and_never_the_true_class(tmp_path: Path) -> None:
    table = table_of("food101n", tmp_path)
    assert table.verified is not None
    assert table.y_true is not None
    of = {
        name.partition("images/")[2]: k for k, name in enumerate(names(table, range(table.train)))
    }
    told = {key: (int(table.verified[k]), int(table.y_true[k])) for key, k in of.items()}
    assert told["apple_pie/h0.jpg"] == (1, 0)
    assert told["apple_pie/h1.jpg"] == (0, ANOTHER)
    assert told["ramen/h3.jpg"] == (0, ANOTHER)  # of verified_val
    assert told["ramen/h0.jpg"] == (UNKNOWN, UNKNOWN)


def test_what_verified_val_calls_right_is_the_clean_set(tmp_path: Path) -> None:
    table = table_of("food101n", tmp_path)
    assert table.clean is not None
    clean = [table.encoded.name(int(k)).partition("images/")[2] for k in table.clean]
    assert clean == ["apple_pie/h2.jpg", "ramen/h2.jpg"]


def test_what_was_verified_under_a_class_that_it_is_not_in_is_not_used(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    path = tmp_path / "Food-101N_release/meta/verified_train.tsv"
    write(path, *path.read_text().splitlines(), "ramen/a49e.jpg\t1")
    table = read_table("food101n", tmp_path)
    assert table.verified is not None
    assert np.count_nonzero(table.verified != UNKNOWN) == 5  # h0, h1, h3 and the clean set
    assert all("a49e" not in name for name in names(table, range(len(table.y))))


def test_a_flag_that_is_none_is_told(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    path = tmp_path / "Food-101N_release/meta/verified_train.tsv"
    write(path, "class_name/key\tverification_label", "apple_pie/h0.jpg\t2")
    with pytest.raises(DataError, match=r"verified_train.tsv: line 2: .*a tab, and 0 or 1"):
        read_table("food101n", tmp_path)


# ---------------------------------------------------------------- WebVision


def test_the_mini_set_is_the_first_50_classes_of_google_alone(tmp_path: Path) -> None:
    table = table_of("webvision_mini", tmp_path)
    assert (table.train, len(table.y) - table.train) == (100, 50)
    assert all(name.startswith("google/") for name in names(table, range(table.train)))
    assert table.y.max() == 49


def test_classes_have_the_order_of_the_list_and_not_of_their_ids(tmp_path: Path) -> None:
    assert table_of("webvision_mini", tmp_path).class_names[:2] == (
        "n00001000 word 0",
        "n00000999 word 1",
    )


def test_the_whole_set_has_both_parts_and_needs_all_classes(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    with pytest.raises(DataError, match=r"no image to train on of 940 of 1000 classes"):
        read_table("webvision", tmp_path)
    (tmp_path / "info/train_filelist_flickr.txt").unlink()
    with pytest.raises(DataError, match=r"train_filelist_flickr.txt is missing"):
        read_table("webvision", tmp_path)


# ---------------------------------------------------------------- ANIMAL-10N


def test_files_come_in_the_order_of_their_names_and_their_label_stands_before(
    tmp_path: Path,
) -> None:
    table = table_of("animal10n", tmp_path)
    files = names(table, range(table.train))
    assert files == sorted(files)
    assert table.y[: table.train].tolist() == sorted([*range(10)] * 2)
    assert table.class_names[9] == "guinea pig"


def test_a_file_without_a_label_and_an_archive_that_is_still_packed_are_told(
    tmp_path: Path,
) -> None:
    write(tmp_path / "raw_image_ver.zip")
    with pytest.raises(DataError, match=r"unpack raw_image_ver.zip first"):
        read_table("animal10n", tmp_path)
    write_animal10n(tmp_path)
    put(tmp_path / "training/cat.jpg", 0)
    with pytest.raises(DataError, match=r"file: 'cat.jpg' has no label; allowed is <0 to 9>_"):
        read_table("animal10n", tmp_path)


# ---------------------------------------------------------------- controlled noisy web labels


def test_labels_of_imagenet_are_right_and_those_of_the_web_as_the_annotations_say(
    tmp_path: Path,
) -> None:
    table = table_of("cnwl_red", tmp_path)
    assert table.y_true is not None
    assert table.y_true[:100].tolist() == table.y[:100].tolist()
    # The list counts both images as noise; the annotations call the first one right.
    assert table.y_true[100:103].tolist() == [0, ANOTHER, UNKNOWN]


def test_without_annotations_nobody_knows_of_the_web(tmp_path: Path) -> None:
    write_cnwl(tmp_path)
    (tmp_path / "mini-imagenet-annotations.json").unlink()
    table = read_table("cnwl_red", tmp_path, "0.4")
    assert table.y_true is not None
    assert set(table.y_true[100:].tolist()) == {UNKNOWN}


def test_annotations_of_another_form_are_told(tmp_path: Path) -> None:
    write_cnwl(tmp_path)
    write(tmp_path / "mini-imagenet-annotations.json", '{"data": [[{"image/id": "web000"}]]}')
    with pytest.raises(DataError, match=r"not as it was published .*allowed is data, a list"):
        read_table("cnwl_red", tmp_path, "0.4")


def test_a_share_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_cnwl(tmp_path)
    with pytest.raises(DataError, match=r"split/red_noise_nl_0.8 is missing"):
        read_table("cnwl_red", tmp_path, "0.8")
    with pytest.raises(DataError, match=r"the share of wrong labels is not given"):
        read_table("cnwl_blue", tmp_path)


# ---------------------------------------------------------------- ImageNet-LT


def test_classes_keep_their_sizes_and_are_called_as_their_folders(tmp_path: Path) -> None:
    table = table_of("imagenet_lt", tmp_path)
    assert np.bincount(table.y[: table.train]).tolist() == [3, 2, 1]
    assert table.class_names == ("n0", "n1", "n2")
    from curvetune.data.decode import decode

    (content,) = table.encoded.read(np.array([4]))
    expected = pixels(4, SIDE, SIDE).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(content, ".png", SIDE).pixels, expected)


def test_two_folders_of_one_class_are_told(tmp_path: Path) -> None:
    write_imagenet_lt(tmp_path)
    path = tmp_path / "ImageNet_LT_train.txt"
    write(path, *path.read_text().splitlines(), "train/n7/0.JPEG 0")
    with pytest.raises(DataError, match=r"line 7: class 0 is n0 above and n7 here"):
        read_table("imagenet_lt", tmp_path)
