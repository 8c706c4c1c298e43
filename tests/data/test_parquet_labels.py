"""Labels of Parquet files are whole numbers, the places of names; anything else is refused."""

import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_cifar import NAMES, write_cifar

import curvetune.data
from curvetune.errors import DataError

TRAIN = "train-00001-of-00002"  # whose labels are 0 and 1
TEST = "test-00000-of-00001"


@pytest.fixture
def cifar_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_cifar(tmp_path)
    return tmp_path


def relabel(path: Path, labels: pa.Array, names: list[Any] | None = None) -> None:
    """Give a file other labels and, if there are any, other names of the classes."""
    table = pq.read_table(path)
    table = table.set_column(table.column_names.index("label"), "label", labels)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path)


DECIMALS = [decimal.Decimal("2.00"), decimal.Decimal("0")]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([2, 0], pa.int8()),
        pa.array([2, 0], pa.uint64()),
        pa.array([2.0, 0.0], pa.float64()),
        pa.array(np.array([2, 0], np.float16)),
        pa.array(DECIMALS, pa.decimal128(5, 2)),
        pa.array([2, 0]).dictionary_encode(),
    ],
    ids=lambda labels: str(labels.type),
)
def test_whole_numbers_are_labels_however_they_are_stored(
    cifar_dir: Path, labels: pa.Array
) -> None:
    relabel(cifar_dir / f"{TRAIN}.parquet", labels)
    relabel(cifar_dir / f"{TEST}.parquet", labels)
    data = curvetune.data.load("cifar10", cifar_dir)
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([0, 1, 2, 2, 0], [2, 0])


@pytest.mark.parametrize("file", [TRAIN, TEST])
@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (pa.array(["dog", "cat"]), r"type string, in row 0 'dog' \(its number is 1\)"),
        (pa.array(["bear", "cat"]), "type string, in row 0 'bear'; "),
        (pa.array(["0", "1"], pa.large_string()), "type large_string, in row 0 '0'; "),
        (pa.array(["frog", "cat"]).dictionary_encode(), r"type string.*'frog' \(its number is 2\)"),
        (pa.array([0.0, 1.5]), "row 1 has label 1.5"),
        (pa.array([0.5, 1.0], pa.float32()), "row 0 has label 0.5"),
        (pa.array([decimal.Decimal("1.25"), decimal.Decimal("0.00")]), "row 0 has label 1.25"),
        (pa.array([0.0, float("nan")]), "row 1 has label nan"),
        (pa.array([float("inf"), 0.0]), "row 0 has label inf"),
        (pa.array([0, None]), "row 1 has no label"),
        (pa.array([None, "cat"]), "row 0 has no label"),
        (pa.array([0, -1]), "row 1 has label -1"),
        (pa.array([0, 2**64 - 1], pa.uint64()), f"row 1 has label {2**64 - 1}"),
        (pa.array([True, False]), "type bool, in row 0 'True'"),
        (pa.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]]), r"type list<.*in row 0 '\[0.2, 0.8, 0.0\]'"),
        (pa.array([b"cat", b"dog"]), "type binary, in row 0"),
        (pa.array([0, 1], pa.date32()), "type date32"),
    ],
    ids=str,
)
def test_any_other_label_is_refused_with_file_and_row(
    cifar_dir: Path, file: str, labels: pa.Array, named: str
) -> None:
    relabel(cifar_dir / f"{file}.parquet", labels)
    allowed = r"allowed is a whole number from 0 to 2, the place of a name among the 3 .*cat, dog"
    for ask in (curvetune.data.load, lambda *a: curvetune.data.find_source(a[0]).sizes(a[1])):
        with pytest.raises(DataError, match=rf"{file}.parquet: .*{named}.*{allowed}"):
            ask("cifar10", cifar_dir)


@pytest.mark.parametrize(
    "names", [["dog", "cat", "frog"], ["cat", "dog"], ["cat", "dog", "frog", "bird"]]
)
@pytest.mark.parametrize("file", [TRAIN, TEST])
def test_files_that_number_their_classes_in_another_way_are_refused(
    cifar_dir: Path, file: str, names: list[str]
) -> None:
    relabel(cifar_dir / f"{file}.parquet", pa.array([0, 1]), names)
    with pytest.raises(
        DataError, match=rf"{file}.parquet: its metadata names .*{', '.join(names)}"
    ):
        curvetune.data.load("cifar10", cifar_dir)


@pytest.mark.parametrize("names", [[0, 1, 2], {"0": "cat", "1": "dog", "2": "frog"}, "cat"])
def test_names_that_are_no_list_of_texts_are_none(cifar_dir: Path, names: Any) -> None:
    relabel(cifar_dir / "train-00000-of-00002.parquet", pa.array([0, 1, 2]), names)
    with pytest.raises(DataError, match="its metadata has no names of the classes of label"):
        curvetune.data.load("cifar10", cifar_dir)


def test_a_file_without_names_has_those_of_the_first(cifar_dir: Path) -> None:
    path = cifar_dir / f"{TEST}.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    data = curvetune.data.load("cifar10", cifar_dir)
    assert (data.class_names, data.test.y.tolist()) == (tuple(NAMES), [0, 1])
