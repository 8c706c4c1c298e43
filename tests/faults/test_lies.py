"""F15: JSON and safetensors files that lie, in a storage from anybody, are corrupt files."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import make_cells, write_grid

from curvetune.errors import CorruptError
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import report_json
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_arrays, save_arrays
from curvetune.store.files import read_json
from curvetune.store.history import read_rows
from curvetune.training.checkpoint import Checkpoint, load_state

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

CELL_ID, PROBE_ID = "0123456789abcdef", "fedcba9876543210"


ODD_IDS = ["../../../outside", "/tmp/outside", "..", "0123456789ABCDEF", "0" * 17, "", 5, None, []]


@pytest.mark.parametrize(
    ("key", "odd"),
    [
        (key, odd)
        for key in ("cell_id", "probe_id")
        for odd in ODD_IDS
        if (key, odd) != ("probe_id", None)
    ],
)
def test_the_record_of_a_grid_with_an_id_that_is_none_is_refused(
    tmp_path: Path, key: str, odd: Any
) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    path = tmp_path / "grids" / "small.json"
    record = json.loads(path.read_text())
    record["cells"][1][key] = odd
    path.write_text(json.dumps(record))
    for read in (read_grid, report_json):
        with pytest.raises(CorruptError, match=r"small\.json: not the record of a grid"):
            read(tmp_path, "small")


@pytest.mark.parametrize(
    "change",
    [
        {"cells": None},
        {"cells": 5},
        {"cells": ["x"]},
        {"cells": [{}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": {}}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": []}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": {"data": {"name": 5}}}]},
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    path = tmp_path / "grids" / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptError, match=r"small\.json: not the record of a grid"):
        read_grid(tmp_path, "small")


# ---------------------------------------------------------------- JSON and safetensors that lie


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 1_000_000, id="deep lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep objects"),
        pytest.param(b'{"a":' * 400 + b"1" + b"}" * 400, id="deep enough to be read, not written"),
        pytest.param(b'{"schema_version": 2, "accuracy": NaN, "sha256": "x"}', id="NaN"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", id="an absurd number"),
        pytest.param(b"\xff\xfe{", id="no UTF-8"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{" + b'"a": 1,' * 100_000 + b'"a": 1}', id="a key many times"),
        pytest.param(b'{"\\ud800": "\\udfff\\ud800"}', id="half characters"),
    ],
)
def test_json_that_means_harm_is_no_result(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "cells" / CELL_ID
    folder.mkdir(parents=True)
    (folder / "DONE.json").write_bytes(content)
    assert CellStore(tmp_path).result(CELL_ID) is None
    probe = tmp_path / "probes" / PROBE_ID
    probe.mkdir(parents=True)
    (probe / "manifest.json").write_bytes(content)
    assert not CurveStore(tmp_path).has(PROBE_ID)


def test_a_huge_json_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no space
    with pytest.raises(CorruptError, match=r"1,000,000,000,000 bytes; allowed are"):
        read_json(tmp_path / "huge.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "5", "[1]", "NaN", "{", "\0"])
def test_a_history_that_means_harm_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match=r"history|Expecting|Extra|Nothing|nan|NaN"):
        read_rows(tmp_path / "history.jsonl")


def header(size: int, text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", size) + text + body


def claiming(**tensor: Any) -> bytes:
    """Return a safetensors file whose header says what it likes about its one tensor."""
    inner = json.dumps({"tree": "{}", "sha256": "0" * 64})
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | tensor
    text = json.dumps({"__metadata__": {"curvetune": inner}, "x": entry}).encode()
    return header(len(text), text, bytes(8))


def inner(value: object) -> bytes:
    text = json.dumps({"__metadata__": {"curvetune": json.dumps(value)}}).encode()
    return header(len(text), text)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header(2**63, b"{}"), id="a header longer than any file"),
        pytest.param(header(100, b"{}"), id="a header longer than this file"),
        pytest.param(header(0, b""), id="no header"),
        pytest.param(header(2, b"[]"), id="a list"),
        pytest.param(header(20_000, b"[" * 20_000), id="a deep header"),
        pytest.param(header(4, b"null"), id="null"),
        pytest.param(claiming(data_offsets=[0, 2**62]), id="offsets beyond the end"),
        pytest.param(claiming(data_offsets=[-8, 0]), id="negative offsets"),
        pytest.param(claiming(shape=[2**40, 2**40]), id="a huge shape"),
        pytest.param(claiming(shape=[-2]), id="a negative shape"),
        pytest.param(claiming(dtype="OBJECT"), id="an unknown type"),
        pytest.param(claiming(dtype="F8_E5M2", shape=[8]), id="a type that NumPy lacks"),
        pytest.param(claiming(), id="a wrong checksum"),
        pytest.param(inner(5), id="metadata that is a number"),
        pytest.param(inner({"tree": 5, "sha256": ""}), id="a tree that is a number"),
        pytest.param(inner({"tree": None}), id="no tree"),
    ],
)
def test_a_safetensors_file_that_lies_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.safetensors").write_bytes(content)
    for read in (load_arrays, load_state):
        with pytest.raises(CorruptError, match=r"file\.safetensors"):
            read(tmp_path / "file.safetensors")


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"state": {"tensor": "nowhere"}},
        {"state": {"tensor": []}},
        {"state": {"dict": 5}},
        {"state": {"dict": [[1]]}},
        {"state": {"a": 1, "b": 2}},
        {"state": {}},
        {"state": {"dict": [[{"a": 1}, 2]]}},
    ],
)
def test_a_state_that_is_none_is_corrupt_though_its_checksum_is_right(
    tmp_path: Path, tree: dict[str, Any]
) -> None:
    save_arrays(tmp_path / "state", {}, tree)
    with pytest.raises(CorruptError, match="state"):
        load_state(tmp_path / "state")
    assert Checkpoint(tmp_path / "state", 1).load() is None
