"""Lists of corrected labels: what they mean, and what is refused with its file and row."""

import re
from pathlib import Path

import pytest

from curvetune.data.relabel import Corrections, Samples, read_corrections
from curvetune.errors import DataError

PETS = Samples(
    5,
    ("cat", "dog", "eel"),
    ("train/cat/a.png", "train/cat/b.png", "train/dog/c.png", "train/dog/7.png", "train/eel/ä.png"),
)
DIGITS = Samples(100, tuple(map(str, range(10))))


def read(folder: Path, text: str, samples: Samples = PETS) -> Corrections:
    path = folder / "fixed.csv"
    path.write_text(text, encoding="utf-8")
    return read_corrections(path, samples)


def test_a_sample_is_its_index_or_its_file_and_other_columns_are_not_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "score,label,sample\n.9,eel,1\n.8,dog,train/eel/ä.png\n\n.7, cat ,train/dog/7.png\n",
    )
    assert found == Corrections({1: 2, 3: 0, 4: 1}, empty=0)
    assert list(found.labels) == [1, 3, 4]


def test_an_index_that_a_table_program_made_a_fraction_is_still_one(tmp_path: Path) -> None:
    assert read(tmp_path, "sample,label\n1.0,7\n02,3\n", DIGITS).labels == {1: 7, 2: 3}


def test_a_row_without_a_label_says_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, "sample,label\n0,dog\n1,\n2\n")
    assert found == Corrections({0: 1}, empty=2)


def test_the_mark_that_excel_begins_a_file_with_is_no_part_of_a_column(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffsample,label\r\n0,dog\r\n").labels == {0: 1}


def test_numbers_are_class_names_where_these_are_numbers_and_else_count_from_zero(
    tmp_path: Path,
) -> None:
    odd = Samples(9, ("1", "3", "5"))
    assert read(tmp_path, "sample,label\n0,3\n", odd).labels == {0: 1}
    assert read(tmp_path, "sample,label\n0,2\n1,0\n").labels == {0: 2, 1: 0}


REFUSED = {
    "no such index": ("sample,label\n0,cat\n5,cat\n", "line 3: sample '5' does not exist; al"),
    "no such file": (
        "sample,label\ntrain/cat/aa.png,cat\n",
        "line 2: sample 'train/cat/aa.png' does not exist (did you mean 'train/cat/a.png'?); "
        "allowed are 0 to 4, or a file such as train/cat/a.png, as `curvetune suspects`",
    ),
    "a negative index": ("sample,label\n-1,cat\n", "line 2: sample '-1' does not exist"),
    "a fraction": ("sample,label\n1.5,cat\n", "line 2: sample '1.5' does not exist"),
    "a long number": (f"sample,label\n{'9' * 5000},cat\n", "line 2: sample '9999"),
    "no sample": ("sample,label\n,cat\n", "line 2: sample '' does not exist"),
    "an unknown class": (
        "sample,label\n0,dogg\n",
        "line 2: label 'dogg' (did you mean 'dog'?); allowed are cat, dog, eel; write one",
    ),
    "a number among names": ("sample,label\n0,cat\n1,2\n", "line 3: label '2'; allowed are cat"),
    "a number too high": ("sample,label\n0,0\n1,3\n", "its labels are numbers from 0 to 3"),
    "a number that may count from 1": ("sample,label\n0,1\n1,2\n", "0 has to be among them"),
    "a sample twice": (
        "sample,label\n3,cat\n0,dog\n3,eel\n",
        "lines 2 and 4 are both of sample 3 (label 'cat' and label 'eel'); allowed is one row",
    ),
    "twice the same": ("sample,label\n3,cat\n3,cat\n", "lines 2 and 3 are both of sample 3"),
    "by index and file": (
        "sample,label\ntrain/dog/7.png,cat\n3,\n",
        "lines 2 and 3 are both of sample 3 (label 'cat' and no label)",
    ),
    "no column label": ("sample,class\n0,cat\n", "its columns are sample, class; allowed are samp"),
    "a column twice": ("sample,label,label\n0,cat,dog\n", "its columns are sample, label, label"),
    "semicolons": ("sample;label\n0;cat\n", "its columns are sample;label; allowed are sample,l"),
    "an empty file": ("", "it is empty; allowed are sample,label"),
    "a header only": ("sample,label\n", "it has no row below its header; allowed is a row for"),
    "no label at all": ("sample,label\n0,\n1,\n", "no row has a label; allowed is a row for each"),
    "a row with more cells": (
        "sample,label\n0,cat\n1,,dog\n",
        "line 3 has 3 cells, and line 1 2; allowed is at most as many: correct the row",
    ),
    "a huge cell": (f"sample,label\n0,{'x' * 200_000}\n", "cannot be read (field larger than"),
}


def test_empty_cells_at_the_end_of_a_row_are_as_none(tmp_path: Path) -> None:
    plain = read(tmp_path, "sample,label\n0,cat\n1,dog\n")
    assert read(tmp_path, "sample,label\n0,cat,,\n1,dog, \n") == plain


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_is_not_right_is_refused_with_its_file_and_row(
    tmp_path: Path, case: str
) -> None:
    text, message = REFUSED[case]
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "fixed.csv"))


def test_a_label_out_of_range_is_refused_where_classes_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"line 2: label '10'.*allowed are 0, 1, 2, .*, compared as"
    ):
        read(tmp_path, "sample,label\n0,10\n", DIGITS)


@pytest.mark.parametrize("content", [b"sample,label\n0,caf\xe9\n", b"\xff\xfes\x00a\x00"])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"latin\.csv: cannot be read .*allowed is CSV in UTF-8"):
        read_corrections(path, PETS)


def test_a_file_that_is_not_there_is_refused_and_so_is_a_folder(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read .*{reason}"):
            read_corrections(path, PETS)
