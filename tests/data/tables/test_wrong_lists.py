"""A list that cannot be read: the file, its line or row, and what was expected there."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curvetune.data.tables.forms import read_table
from curvetune.errors import DataError

HEADER = b"path,label\n"
FIRST = b'{"path": "a.png", "label": "cat"}\n'
TESTED = FIRST.replace(b"a.png", b"test/a.png")


def refused(path: Path) -> str:
    """Return what is said of a list, without its folder."""
    with pytest.raises(DataError) as error:
        read_table("list", path)
    return str(error.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + b"a,cat\n\nb,cat,7\n", "line 4: 3 cells; allowed is 2, as in the header; a text"),
        (HEADER + b"a,cat\n\n\nb\n", "line 5: 1 cell; allowed is 2"),
        (HEADER + b"a,cat\n   \nb,dog\n", "line 3: 1 cell; allowed is 2"),
        (HEADER + b'a,cat\n"b,cat\nc,dog\n', "line 3: 1 cell, and goes on to line 4; allowed"),
        (HEADER + b'a,cat\n"' + b"x,\n" * 70_000, "line 3: field larger than field limit"),
        (HEADER + "a,cat\ngröße,cat\n".encode("latin-1"), "line 3: byte 0xf6 after 2 others is no"),
        ("path,label\n".encode("utf-16"), "line 1: byte 0xff after 0 others is no UTF-8; allowed"),
        (HEADER + b"a,cat\n" * 9000 + b"\xff,cat\n", "line 9002: byte 0xff after 0 others"),
        (b"", "line 1: its columns are none; allowed is one of path, file, file_name, image, and"),
        (b"name,class\na,b,c\n", "line 1: its columns are name, class; allowed is one of path"),
    ],
)
def test_csv(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    assert refused(path).startswith(f"list.csv: {said}")


def test_tsv(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("path\tlabel\na,cat\n")
    assert refused(path).startswith(
        'list.tsv: line 2: 1 cell; allowed is 2, as in the header; a text with tabs is between "'
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (FIRST + b"\n{no\n", "line 3: '{no' is no JSON (Expecting property name"),
        (FIRST + b"[1]\n", "line 2: '[1]' is no object; allowed is an object {…} in each line"),
        (b'[{"path": "a"}]\n', 'line 1: \'[{"path": "a"}]\' is no object'),
        (b'{"path":\n"a", "label": 1}\n', "line 1: '{\"path\":' is no JSON"),
        (
            FIRST + b'{"path": "b", "label": 3}\n',
            "line 2: label is a whole number; allowed is a te",
        ),
        (
            FIRST + b'{"path": ["b"], "label": "c"}\n',
            "line 2: path is a list or an object; allowed",
        ),
        (b'{"path": "a", "label": {"x": 1}}\n', "line 1: label is a list or an object; allowed is"),
        (b'{"path": "a", "label": null}\n{"path": "b", "label": 3}\n', "line 2: label is a whole"),
        (
            b'{"path": "a", "label": 3}\n{"path": "b", "label": 3.5}\n',
            "line 2: label is a fraction; allowed is a whole number, as in line 1",
        ),
        (FIRST + b'{"path": "b", "label": "x", "label": "y"}\n', "line 2: 'label' is there twice"),
        (FIRST + b'{"path": "\xe4", "label": "cat"}\n', "line 2: byte 0xe4 after 10 others"),
        (b'{"path": "a"}\n', "line 1: its columns are path; allowed is one of"),
        (FIRST + TESTED + b'{"path": "b"}\n', "line 3: label '' is no label; allowed are names"),
        (FIRST + b'{"label": "dog"}\n', "line 2: no path; allowed is a path within"),
    ],
)
def test_json_lines(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    assert refused(path).startswith(f"list.jsonl: {said}")


def parquet(path: Path, label: pa.Array) -> Path:
    pq.write_table(pa.table({"path": ["train/a.png", "test/b.png"], "label": label}), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    no_text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array(["aa", "bb"]).buffers()[1], pa.py_buffer(b"aa\xe4\xe4")]
    )
    assert refused(parquet(path, no_text)) == (
        "list.parquet: row 1: label is no UTF-8; allowed is text in UTF-8: correct the row, or "
        "take it out"
    )
    assert "column label is of type list" in refused(parquet(path, pa.array([["a"], ["b"]])))
    assert refused(parquet(path, pa.array([None, "b"]))).startswith("list.parquet: row 0: label ''")
    path.write_bytes(b"PAR1 and nothing")
    assert "allowed is Parquet" in refused(path)


def test_the_only_list_of_a_folder_is_named_if_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.csv: line 1: byte 0xf6"):
        read_table("list", tmp_path)
    (tmp_path / "good.csv").write_text("path,label\na,cat\n")
    with pytest.raises(DataError, match=r"good\.csv: no row is of split test"):
        read_table("list", tmp_path)


def test_empty_lines_before_the_header_are_no_rows(tmp_path: Path) -> None:
    rows = ["", "", "path,label", "train/a,cat", "train/b,dog", "test/a,cat", "test/b,dog"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert read_table("list", tmp_path).class_names == ("cat", "dog")
    (tmp_path / "list.csv").write_text("\n".join([*rows, "test/c,bird"]))
    assert "line 8: label 'bird'" in refused(tmp_path / "list.csv")


def test_a_line_is_counted_though_a_text_before_it_has_two(tmp_path: Path) -> None:
    rows = ["path,label", '"train/a\nb",cat', "train/b,dog", "test/a,bird"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert "line 5: label 'bird'" in refused(tmp_path / "list.csv")


def test_a_line_is_found_in_a_list_of_many_blocks(tmp_path: Path) -> None:
    rows = [
        json.dumps({"path": f"train/{k}", "label": "cat", "more": "x" * 90}) for k in range(30_000)
    ]
    rows[29_000] = json.dumps({"path": "train/x", "label": 5})
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    assert "line 29001: label is a whole number" in refused(tmp_path / "list.jsonl")
