"""Lists of images that people write themselves."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from public_sets import hub_table, image_bytes, put, write, write_hub

from curvetune.data.tables.forms import read_table
from curvetune.data.tables.table import ANOTHER, UNKNOWN, Table
from curvetune.errors import DataError

ROWS = [("a/0.png", "cat"), ("a/1.png", "dog"), ("b, c/2.png", "cat"), ("test/3.png", "dog")]
ROWS += [("test/4.png", "cat")]


def images(root: Path) -> Path:
    for k, (file, _) in enumerate(ROWS):
        put(root / file, k)
    return root


def csv_of(root: Path, *lines: str, name: str = "list.csv") -> Path:
    write(images(root) / name, *lines)
    return root


def plain(*more: str) -> list[str]:
    return ["path,label", *(f'"{file}",{label}' for file, label in ROWS), *more]


def told(table: Table) -> list[tuple[str, str]]:
    names = table.class_names
    return [(table.encoded.name(k), names[y]) for k, y in enumerate(table.y.tolist())]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["path", "file", "file_name", "image"])
def test_every_form_and_every_name_of_the_column_give_the_same_rows(
    form: str, column: str, tmp_path: Path
) -> None:
    files, labels = zip(*ROWS, strict=True)
    path = images(tmp_path) / f"rows.{form}"
    if form == "parquet":
        pq.write_table(pa.table({column: files, "label": labels, "weight": [1.0] * 5}), path)
    elif form == "jsonl":
        write(path, *(json.dumps({column: f, "label": y, "weight": 1}) for f, y in ROWS))
    else:
        mark = "\t" if form == "tsv" else ","
        rows = (f'"{file}"{mark}{label}{mark}1' for file, label in ROWS)
        write(path, mark.join((column, "label", "weight")), *rows)
    for data_dir in (tmp_path, path):
        table = read_table("list", data_dir)
        assert told(table) == ROWS
        assert table.train == 3
        assert list(table.encoded.read(np.arange(5))) == [image_bytes(k) for k in range(5)]


def test_a_column_says_the_split_and_val_is_tested_on_where_nothing_is_called_test(
    tmp_path: Path,
) -> None:
    lines = ["path,label,split", "a/0.png,cat,train", "a/1.png,dog,train"]
    csv_of(tmp_path, *lines, "test/3.png,dog,valid", "test/4.png,cat,val")
    assert read_table("list", tmp_path).train == 2
    csv_of(tmp_path, *lines, "a/9.png,dog,val", "test/3.png,dog,test", "test/4.png,cat,test")
    table = read_table("list", tmp_path)
    assert [name for name, _ in told(table)][2:] == ["test/3.png", "test/4.png"]


def test_what_else_is_known_comes_with_the_rows_to_train_on(tmp_path: Path) -> None:
    csv_of(
        tmp_path,
        "path,label,split,true_label,verified,clean",
        "test/3.png,dog,test,,,",
        "a/0.png,cat,train,dog,,",
        "a/1.png,dog,train,,0,",
        "test/4.png,cat,test,,,",
        '"b, c/2.png",cat,train,,1,',
        "a/5.png,dog,train,,,true",
        "a/6.png,dog,train,,,false",
    )
    table = read_table("list", tmp_path)
    assert table.y_true is not None
    assert table.verified is not None
    assert table.clean is not None
    dog, cat = table.class_names.index("dog"), table.class_names.index("cat")
    assert table.y_true.tolist() == [dog, ANOTHER, cat, dog, UNKNOWN]
    assert table.verified.tolist() == [UNKNOWN, 0, 1, UNKNOWN, UNKNOWN]
    assert table.clean.tolist() == [3]


@pytest.mark.parametrize("more", ["cat,,1", ",0,1"])
def test_a_clean_image_whose_label_is_called_wrong_is_told(more: str, tmp_path: Path) -> None:
    lines = ["path,label,true_label,verified,clean", "a/0.png,cat,cat,1,1", f"a/1.png,dog,{more}"]
    csv_of(tmp_path, *lines, "test/3.png,dog,,,", "test/4.png,cat,,,")
    with pytest.raises(DataError, match=r"line 3: clean is 1, and true_label or verified says"):
        read_table("list", tmp_path)


def test_numbers_are_names_and_written_in_any_way_are_one_class(tmp_path: Path) -> None:
    lines = ["path,label", "a/0.png,007", "a/1.png,12", '"b, c/2.png",7', "test/3.png,7.0"]
    table = read_table("list", csv_of(tmp_path, *lines, "test/4.png,12"))
    assert table.class_names == ("7", "12")
    assert table.y.tolist() == [0, 1, 0, 0, 1]


def test_texts_that_look_like_dates_or_nothing_stay_texts(tmp_path: Path) -> None:
    labels = ["2020-01-01", "NA", "2020-01-01", "NA", "2020-01-01"]
    rows = [{"path": file, "label": y} for (file, _), y in zip(ROWS, labels, strict=True)]
    write(images(tmp_path) / "a.jsonl", *map(json.dumps, rows))
    assert read_table("list", tmp_path / "a.jsonl").class_names == ("2020-01-01", "NA")
    write(tmp_path / "a.csv", "path,label", *(f'"{r["path"]}",{r["label"]}' for r in rows))
    assert read_table("list", tmp_path / "a.csv").class_names == ("2020-01-01", "NA")


@pytest.mark.parametrize("label", ["3", '"3"', "true"])
def test_a_label_of_any_plain_type_is_read(label: str, tmp_path: Path) -> None:
    lines = [f'{{"path": "{file}", "label": {label}}}' for file, _ in ROWS]
    other = {"3": "4", '"3"': '"4"', "true": "false"}[label]
    for k in (1, 3):
        lines[k] = lines[k].replace(f'"label": {label}', f'"label": {other}')
    write(images(tmp_path) / "a.jsonl", *lines)
    assert read_table("list", tmp_path).y.tolist() in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("../x.png,cat", r"list.csv: line 7: ../x.png is outside the folder; allowed is a path"),
        ("/etc/x.png,cat", "line 7: /etc/x.png is outside"),
        (",cat", "line 7: no path"),
        ("a/0.png,dog", r"line 7: a/0.png has a row already \(line 2\); allowed is one for each"),
        ("test/9.png,bird", "line 7: label 'bird'; allowed are cat, dog"),
        ("a/9.png,", "line 7: label '' is no label; allowed are names, or whole numbers"),
        ("a/9.png,1.5", "line 7: label '1.5' is a fraction"),
        ("a/9.png,cat,7", r"list.csv: line 7: 3 cells; allowed is 2, as in the header"),
        ("a/9.png", r"list.csv: line 7: 1 cell; allowed is 2, as in the header"),
    ],
)
def test_a_wrong_row_is_told_with_its_line_and_what_was_expected(
    line: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        read_table("list", csv_of(tmp_path, *plain(line)))


def test_lines_are_counted_as_editors_do_with_empty_ones(tmp_path: Path) -> None:
    lines = plain("", "test/9.png,bird")
    lines.insert(1, "")
    with pytest.raises(DataError, match="line 9: label 'bird'"):
        read_table("list", csv_of(tmp_path, *lines))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["name,class", "a,b"], r"no list there; allowed is a list"),
        (["path,label,split", "a/0.png,cat,dev"], r"line 2: split 'dev'; allowed is train, test"),
        (["path,label", "a/0.png,cat", "a/1.png,dog"], "no row is of split test; allowed is a"),
        (["path,label,verified", "a/0.png,cat,yes"], "verified 'yes'; allowed is 1, 0, true"),
        (["path,file,label", "a/0.png,b,cat"], "line 1: its columns are path, file, label; allow"),
        (["path,label,label", "a/0.png,cat,cat"], "it has 2 columns label; allowed is one of each"),
    ],
)
def test_a_list_of_another_form_is_told_what_is_expected(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    rows = lines if len(lines) == 3 else [*lines, lines[-1].replace("a/0", "test/3")]
    with pytest.raises(DataError, match=said):
        read_table("list", csv_of(tmp_path, *rows))


def test_several_lists_are_told_and_one_of_them_can_be_chosen(tmp_path: Path) -> None:
    csv_of(tmp_path, *plain(), name="one.csv")
    csv_of(tmp_path, *plain(), name="two.csv")
    with pytest.raises(DataError, match=r"2 lists of images \(one.csv, two.csv\)"):
        read_table("list", tmp_path)
    assert read_table("list", tmp_path / "two.csv").train == 3


def test_a_table_of_images_is_no_list_and_is_told_how_it_is_read(tmp_path: Path) -> None:
    write_hub(tmp_path / "train.parquet", hub_table(0, [0, 1], ("a", "b")))
    with pytest.raises(DataError, match=r"no list there"):
        read_table("list", tmp_path)
    with pytest.raises(DataError, match=r"a table of images is read as data.name=hf"):
        read_table("list", tmp_path / "train.parquet")


def test_files_that_are_no_list_are_told(tmp_path: Path) -> None:
    write(tmp_path / "list.txt", "a.png cat")
    with pytest.raises(DataError, match="no list by its name"):
        read_table("list", tmp_path / "list.txt")
    write(tmp_path / "a.jsonl", '{"path": "a.png", "label": "cat"}', "{no json")
    with pytest.raises(DataError, match=r"a.jsonl: line 2: '{no json' is no JSON .*; allowed is"):
        read_table("list", tmp_path / "a.jsonl")


def test_a_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    csv_of(tmp_path, *plain())
    (tmp_path / "a/1.png").unlink()
    table = read_table("list", tmp_path)
    with pytest.raises(DataError, match=r"a/1.png: cannot be read \(No such file or directory\)"):
        table.encoded.read(np.array([0, 1]))
