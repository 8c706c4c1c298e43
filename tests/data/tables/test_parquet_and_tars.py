"""Images within files: Hugging Face's Parquet, and WebDataset's tars."""

import io
import json
import pickle
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from public_sets import hub_table, image_bytes, write, write_hub, write_tar

from curvetune.data.tables.encoded import Chain, Chosen
from curvetune.data.tables.forms import read_table
from curvetune.data.tables.parquet_rows import ParquetRows
from curvetune.errors import DataError

NAMES = ("cat", "dog")


def write_splits(root: Path, *, rows: int = 2) -> None:
    write_hub(root / "data/train-00000-of-00002.parquet", hub_table(0, [0, 1, 0], NAMES), rows)
    write_hub(root / "data/train-00001-of-00002.parquet", hub_table(3, [1, 1], NAMES), rows)
    write_hub(root / "data/test-00000-of-00001.parquet", hub_table(5, [1, 0], NAMES), rows)


# ---------------------------------------------------------------- Parquet


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_rows_are_read_in_any_order_whatever_the_row_groups(rows: int, tmp_path: Path) -> None:
    write_splits(tmp_path, rows=rows)
    table = read_table("hf", tmp_path)
    assert (table.class_names, table.train) == (NAMES, 5)
    assert table.y.tolist() == [0, 1, 0, 1, 1, 1, 0]
    assert table.encoded.name(4) == "data/train-00001-of-00002.parquet:1"
    for order in ([*range(7)], [6, 0, 3, 3, 1, 5], [2, 1, 0]):
        found = table.encoded.read(np.array(order))
        assert list(found) == [image_bytes(k) for k in order]


def test_a_big_row_group_is_read_in_small_parts_and_on_from_where_it_was(tmp_path: Path) -> None:
    for name, size in (("train", 300), ("test", 2)):
        table = hub_table(0, [k % 2 for k in range(size)], NAMES)
        write_hub(tmp_path / f"{name}.parquet", table, rows=300)
    encoded = read_table("hf", tmp_path).encoded
    found = [encoded.read(np.arange(k, k + 50)) for k in range(0, 300, 50)]
    assert [content for part in found for content in part] == [image_bytes(k) for k in range(300)]
    assert isinstance(encoded, ParquetRows)
    (going,) = encoded._passes._idle  # all of it was one pass
    assert going.start == 256


def test_rows_are_the_same_in_another_process_and_in_several_threads(tmp_path: Path) -> None:
    write_splits(tmp_path)
    encoded = read_table("hf", tmp_path).encoded
    encoded.read(np.array([1]))  # it holds an open file now
    again = pickle.loads(pickle.dumps(encoded))
    wrong: list[int] = []

    def ask(seed: int) -> None:
        for k in np.random.default_rng(seed).integers(7, size=40).tolist():
            if again.read(np.array([k]))[0] != image_bytes(k):
                wrong.append(k)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_columns_are_found_by_their_type_where_no_metadata_says(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("validation", 2)):
        photos = [image_bytes(first + k) for k in (0, 1)]
        table = pa.table({"id": [1.5, 2.5], "species": ["wren", "owl"], "photo": photos})
        write_hub(tmp_path / split / "part.parquet", table)
    table = read_table("hf", tmp_path)
    assert table.class_names == ("owl", "wren")
    assert table.y.tolist() == [1, 0, 1, 0]
    assert table.encoded.read(np.array([2]))[0] == image_bytes(2)


def test_of_several_columns_of_labels_one_is_chosen_by_the_variant(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table = hub_table(0, [0, 1], NAMES, "fine").append_column("coarse", [["x", "y"]])
        write_hub(tmp_path / f"{split}.parquet", table.append_column("other", [["u", "v"]]))
    assert read_table("hf", tmp_path).class_names == NAMES  # the metadata says that it is classes
    assert read_table("hf", tmp_path, "coarse").class_names == ("x", "y")
    for split in ("train", "test"):
        write_hub(tmp_path / f"{split}.parquet", table.replace_schema_metadata(None))
    with pytest.raises(DataError, match=r"2 columns may be the label; .*data.variant=fine"):
        read_table("hf", tmp_path)
    with pytest.raises(DataError, match=r"data.variant=colour: no column of that name"):
        read_table("hf", tmp_path, "colour")


def test_test_images_without_labels_give_way_to_the_validation_images(tmp_path: Path) -> None:
    write_splits(tmp_path)
    write_hub(tmp_path / "data/test-00000-of-00001.parquet", hub_table(5, [-1, -1], NAMES))
    with pytest.raises(DataError, match=r"row 0 has label '-1'; allowed is a whole number from 0"):
        read_table("hf", tmp_path)
    write_hub(tmp_path / "data/validation-00000-of-00001.parquet", hub_table(8, [1, 0], NAMES))
    table = read_table("hf", tmp_path)
    assert "validation" in table.encoded.name(5)


def test_files_that_are_missing_or_of_no_split_are_told(tmp_path: Path) -> None:
    write_splits(tmp_path)
    write_hub(tmp_path / "data/extra.parquet", hub_table(0, [0], NAMES))
    with pytest.raises(DataError, match=r"extra.parquet: no split by its name or folder"):
        read_table("hf", tmp_path)
    (tmp_path / "data/extra.parquet").unlink()
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"by their names there are 2; copy all of them"):
        read_table("hf", tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (hub_table(0, [0, 2], NAMES), "row 1 has label '2'; allowed is a whole number from 0 to 1"),
        (hub_table(0, [0, None], NAMES), "row 1 has no label; allowed is one in each row"),
        (hub_table(0, [0, 1], ("dog", "cat")), "names the classes of label in another way"),
        (hub_table(0, [0, 1], NAMES, "kind"), "no column label, which the first file has"),
    ],
)
def test_a_wrong_file_is_told_with_its_row(table: pa.Table, said: str, tmp_path: Path) -> None:
    write_splits(tmp_path)
    write_hub(tmp_path / "data/train-00001-of-00002.parquet", table)
    with pytest.raises(DataError, match=f"train-00001.*{said}"):
        read_table("hf", tmp_path)


def test_an_image_that_is_only_named_is_told_with_its_row(tmp_path: Path) -> None:
    write_splits(tmp_path)
    table = hub_table(0, [0, 1], NAMES)
    images = [{"bytes": image_bytes(0), "path": "a"}, {"bytes": None, "path": "b.png"}]
    kind = table.schema.field("image").type
    table = table.set_column(0, "image", pa.array(images, kind))
    write_hub(tmp_path / "data/train-00001-of-00002.parquet", table)
    encoded = read_table("hf", tmp_path).encoded
    with pytest.raises(DataError, match=r"train-00001.*: row 1 has no bytes in image"):
        encoded.read(np.array([3, 4]))


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    write_splits(tmp_path)
    (tmp_path / "data/train-00000-of-00002.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"cannot be read as Parquet"):
        read_table("hf", tmp_path)


# ---------------------------------------------------------------- tars


def write_shards(root: Path) -> None:
    write_tar(
        root / "train-000000.tar",
        {"a/0.png": image_bytes(0), "a/0.cls": b"3", "a/1.png": image_bytes(1), "a/1.cls": b"11\n"},
    )
    facts = json.dumps({"label": 3, "text": "x"}).encode()
    write_tar(root / "train-000001.tar", {"2.json": facts, "2.photo.png": image_bytes(2)})
    write_tar(
        root / "val-000000.tar",
        {"0.png": image_bytes(3), "0.cls": b"11", "1.png": image_bytes(4), "1.cls": b"3"},
    )


def test_members_belong_together_by_their_key_and_are_read_where_they_lie(tmp_path: Path) -> None:
    write_shards(tmp_path)
    table = read_table("shards", tmp_path)
    assert table.class_names == ("3", "11")
    assert (table.y.tolist(), table.train) == ([0, 1, 0, 1, 0], 3)
    assert table.encoded.name(2) == "train-000001.tar:2.photo.png"
    assert table.encoded.suffix(2) == ".png"
    order = [4, 0, 2, 1]
    again = pickle.loads(pickle.dumps(table.encoded))
    assert list(again.read(np.array(order))) == [image_bytes(k) for k in order]
    assert {path.suffix for path in tmp_path.rglob("*")} == {".tar"}  # nothing is unpacked


def test_names_of_the_classes_may_lie_beside(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write(tmp_path / "classnames.txt", *(f"kind {chr(97 + k)}" for k in range(12)))
    with pytest.raises(DataError, match=r"no image to train on of 10 of 12 classes"):
        read_table("shards", tmp_path)


def test_labels_of_json_may_be_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        members = {}
        for k, name in enumerate(("owl", "wren")):
            members[f"{k}.json"] = json.dumps({"label": name}).encode()
            members[f"{k}.jpg"] = image_bytes(k)
        write_tar(tmp_path / split / "0.tar", members)
    assert read_table("shards", tmp_path).class_names == ("owl", "wren")


def odd(kind: bytes, name: str = "x.png") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (odd(tarfile.SYMTYPE), r"train-000001.tar: x.png: a link; allowed is a plain file"),
        (odd(tarfile.LNKTYPE), r"x.png: a link"),
        (odd(tarfile.FIFOTYPE), r"x.png: no plain file"),
        (odd(tarfile.CHRTYPE), r"x.png: no plain file"),
        (b"no tar" * 200, "cannot be read as a tar"),
    ],
)
def test_links_and_odd_members_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "train-000001.tar").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table("shards", tmp_path)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"0.png": b"x"}, r"0.png: no label; allowed is an image with a .cls, or a .json"),
        ({"0.png": b"x", "0.json": b"{}"}, "0.png: no label"),
        ({"0.png": b"x", "0.json": b"{"}, r"0.json: cannot be read"),
        ({"0.png": b"x", "0.json": b'{"label": [1]}'}, r"label '\[1\]'; allowed is a whole number"),
        ({"0.png": b"x", "0.jpg": b"y", "0.cls": b"3"}, "a second image of 0; allowed is one"),
        ({"0.png": b"x", "0.cls": b"\xff"}, "0.cls: cannot be read"),
    ],
)
def test_a_wrong_member_is_told(members: dict[str, bytes], said: str, tmp_path: Path) -> None:
    write_shards(tmp_path)
    write_tar(tmp_path / "train-000001.tar", members)
    with pytest.raises(DataError, match=said):
        read_table("shards", tmp_path)


def test_a_label_of_a_test_image_that_no_class_has_is_told(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write_tar(tmp_path / "val-000000.tar", {"0.png": image_bytes(3), "0.cls": b"4"})
    with pytest.raises(DataError, match=r"val-000000.tar:0.png: label '4'; allowed are 3, 11"):
        read_table("shards", tmp_path)


def test_tars_that_are_compressed_cut_or_of_no_split_are_told(tmp_path: Path) -> None:
    write_shards(tmp_path)
    table = read_table("shards", tmp_path)
    whole = (tmp_path / "train-000000.tar").read_bytes()
    (tmp_path / "train-000000.tar").write_bytes(whole[:600])
    with pytest.raises(DataError, match=r"ends before a/0.png does; it changed while"):
        table.encoded.read(np.array([0]))
    (tmp_path / "data-0.tar").write_bytes(whole)
    with pytest.raises(DataError, match=r"data-0.tar: no split by its name or folder"):
        read_table("shards", tmp_path)
    write(tmp_path / "train.tar.gz")
    with pytest.raises(DataError, match=r"is compressed; allowed are plain tars"):
        read_table("shards", tmp_path)


# ---------------------------------------------------------------- several kinds


def test_rows_of_several_kinds_and_a_choice_of_them_keep_their_order(tmp_path: Path) -> None:
    write_splits(tmp_path / "hub")
    write_shards(tmp_path / "tars")
    parts = [read_table("hf", tmp_path / "hub"), read_table("shards", tmp_path / "tars")]
    chain = Chain([part.encoded for part in parts])
    expected = [image_bytes(k) for k in [*range(7), *range(5)]]
    order = np.array([11, 0, 6, 7, 8, 1])
    assert list(chain.read(order)) == [expected[k] for k in order]
    assert (chain.name(7), chain.suffix(7), chain.suffix(0)) == (
        "train-000000.tar:a/0.png",
        ".png",
        "",
    )
    files = {str(path.relative_to(tmp_path)) for path in chain.files()}
    assert len(files) == 6
    assert "tars/train-000000.tar" in files
    chosen = Chosen(chain, np.array([3, 11, 8]))
    assert len(chosen) == 3
    assert list(chosen.read(np.array([2, 0]))) == [expected[8], expected[3]]
    assert chosen.name(2) == chain.name(8)
