"""The storage: whole or not at all, checked on reading, safe against names from outside."""

import os
from pathlib import Path

import numpy as np
import pytest

from curvetune.errors import ConfigError, CorruptError, StorageError
from curvetune.store import CellStore, CurveStore, open_storage
from curvetune.store.arrays import load_arrays, save_arrays
from curvetune.store.cells import RESULT_FILES
from curvetune.store.files import write_atomic

PROBE, CELL = "0123456789abcdef", "fedcba9876543210"


def curves() -> np.ndarray:
    return np.random.default_rng(0).random((7, 5), dtype=np.float32)


def stored_cell(root: Path) -> CellStore:
    store = CellStore(root)
    for name in RESULT_FILES:
        write_atomic(store.folder(CELL) / name, name.encode())
    store.publish(CELL, {"accuracy": 50.0})
    return store


def test_curves_come_back_bit_for_bit_and_read_only(tmp_path: Path) -> None:
    store = CurveStore(tmp_path)
    assert not store.has(PROBE)
    store.write(PROBE, curves(), {"seconds": 1.5})
    found = store.read(PROBE)
    assert np.array_equal(found, curves())
    assert not found.flags.writeable
    assert store.manifest(PROBE)["seconds"] == 1.5
    assert store.manifest(PROBE)["shape"] == [7, 5]


@pytest.mark.parametrize(
    "damage", ["flip a bit", "cut", "delete", "delete the manifest", "garble the manifest"]
)
def test_damaged_curves_are_never_used(tmp_path: Path, damage: str) -> None:
    store = CurveStore(tmp_path)
    store.write(PROBE, curves(), {})
    file, manifest = (store.folder(PROBE) / name for name in ("curves.npy", "manifest.json"))
    content = bytearray(file.read_bytes())
    if damage == "flip a bit":
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-4])
    elif damage == "delete":
        file.unlink()
    elif damage == "delete the manifest":
        manifest.unlink()
    else:
        manifest.write_text("{")
    assert not store.has(PROBE)
    with pytest.raises(CorruptError, match=PROBE):
        store.read(PROBE)


def test_a_result_is_there_once_done_is_written_and_its_files_match(tmp_path: Path) -> None:
    store = stored_cell(tmp_path)
    done = store.result(CELL)
    assert done is not None
    assert done["accuracy"] == 50.0
    assert set(done["files"]) == set(RESULT_FILES)


@pytest.mark.parametrize("name", [*RESULT_FILES, "DONE.json"])
def test_a_result_with_a_damaged_or_missing_file_is_not_there(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored_cell(tmp_path)
    path = store.folder(CELL) / name
    path.write_text(path.read_text()[:-3])
    assert store.result(CELL) is None
    assert "will be recomputed" in caplog.text
    path.unlink()
    assert store.result(CELL) is None


def test_publishing_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=r"config\.json"):
        CellStore(tmp_path).publish(CELL, {})
    assert CellStore(tmp_path).result(CELL) is None


def test_publishing_clears_the_failure_and_the_checkpoint(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.fail(CELL, "it broke", "Traceback ...")
    write_atomic(store.folder(CELL) / "checkpoint.safetensors", b"x")
    failure = store.failure(CELL)
    assert failure is not None
    assert failure["error"] == "it broke"
    stored_cell(tmp_path)
    assert store.failure(CELL) is None
    assert not (store.folder(CELL) / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("name", ["../../etc", "ABCDEF0123456789", "0123", ""])
def test_an_id_cannot_leave_the_storage(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        CellStore(tmp_path).folder(name)
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        CurveStore(tmp_path).folder(name)


def test_a_grid_is_found_by_its_name_and_a_near_name_is_offered(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    with pytest.raises(ConfigError, match="none yet"):
        store.read_grid("digits")
    store.write_grid("digits", {"cells": []})
    assert store.read_grid("digits")["cells"] == []
    assert store.grids() == ["digits"]
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        store.read_grid("digit")
    with pytest.raises(ConfigError, match="allowed are letters"):
        store.write_grid("../digits", {})


def test_arrays_and_their_tree_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = {"x": np.arange(6).reshape(2, 3), "empty": np.zeros((0, 2)), "scalar": np.array(3.5)}
    save_arrays(path, arrays, {"epoch": 3})
    found, tree = load_arrays(path)
    assert tree == {"epoch": 3}
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="checksum"):
        load_arrays(path)
    path.write_bytes(content[:20])
    with pytest.raises(CorruptError, match="cannot be read"):
        load_arrays(path)


def test_what_is_published_is_on_the_disk_before_it_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    sync = os.fsync

    def note(handle: int) -> None:
        names.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    CurveStore(tmp_path).write(PROBE, curves(), {})
    files = [name.rpartition(".")[0] for name in names[:-1]]  # without the temporary part
    assert files == [".curves.npy", ".manifest.json"]
    assert names[-1] == PROBE  # the folder, with all its new names


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_storage_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="CURVETUNE_STORAGE"):
        open_storage(tmp_path / "file")
    with pytest.raises(StorageError, match="mount anything else"):
        open_storage("ftp://host/results")
    assert open_storage(tmp_path / "new").is_dir()


@pytest.mark.parametrize("names", [("weight", "loss"), ("b", "a", "c"), tuple("zyxwvu")])
def test_arrays_come_in_one_order_however_often_they_are_read(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = tmp_path / "x.safetensors"
    save_arrays(path, {name: np.zeros(3, np.float32) for name in names}, {})
    assert {tuple(load_arrays(path)[0]) for _ in range(40)} == {tuple(sorted(names))}
