"""F15: a storage from anybody runs nothing, and nothing outside of it is read or written."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from storage_fixtures import make_cells, write_grid

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.errors import CorruptError, CurvetuneError, StorageError
from curvetune.grids.cells import read_grid
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_arrays, save_arrays
from curvetune.store.checksums import sha256
from curvetune.store.files import publish_json, read_json
from curvetune.store.history import read_rows
from curvetune.training.checkpoint import Checkpoint, load_state, save_state

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

CELL = CellConfig.model_validate(
    {
        "data": {"name": "digits", "train_limit": 60, "test_limit": 30},
        "model": {"name": "resnet8"},
        "probe": {"epochs": 2, "cyclic_start": 1, "half_period": 1, "batch_size": 30},
        "allocate": {"epochs": 2, "batch_size": 30, "milestones": [1], "warmup": 0},
        "method": {"name": "curvenet", "meta_batch_size": 20, "removed_losses": 0},
    }
)
DIGEST = data.digest("digits")
CELL_ID, PROBE_ID, SPLIT_ID = CELL.cell_id(DIGEST), CELL.probe_id(DIGEST), CELL.split_id(DIGEST)
assert PROBE_ID is not None


class Payload:
    """Unpickling it makes the file `pwned` in the working directory."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, ("touch pwned",))


BOMB = pickle.dumps(Payload())


def torch_bomb() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": Payload()}, buffer)
    return buffer.getvalue()


def numpy_bomb() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check after each test that no payload ran; one that is loaded would."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("pwned").exists()


def execute(storage: Path) -> dict[str, Any]:
    images = data.load("digits")
    return run_cell(CELL, DIGEST, images, storage, device=torch.device("cpu"), checkpoint_every=1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("clean")
    execute(storage)
    return storage


def copy(clean: Path, target: Path) -> Path:
    shutil.copytree(clean, target)
    return target


def forge(folder: Path, name: str, **changes: Any) -> None:
    """Change what a published JSON says, with a seal and checksums that are right again."""
    content = json.loads((folder / name).read_text())
    files = {file: sha256(folder / file) for file in content["files"]}
    (folder / name).unlink()
    publish_json(folder / name, content | {"files": files} | changes)


def test_the_payload_works() -> None:
    pickle.loads(BOMB)
    assert Path("pwned").exists()
    Path("pwned").unlink()


# ---------------------------------------------------------------- a pickle in place of a file


@pytest.mark.parametrize("bomb", [BOMB, torch_bomb(), numpy_bomb()], ids=["pickle", "torch", "npy"])
@pytest.mark.parametrize(
    "victim",
    [
        f"cells/{CELL_ID}/model.safetensors",
        f"cells/{CELL_ID}/samples.safetensors",
        f"cells/{CELL_ID}/DONE.json",
        f"cells/{CELL_ID}/config.json",
        f"cells/{CELL_ID}/checkpoint.safetensors",
        f"probes/{PROBE_ID}/curves.npy",
        f"probes/{PROBE_ID}/model.safetensors",
        f"probes/{PROBE_ID}/manifest.json",
        f"probes/{PROBE_ID}/checkpoint.safetensors",
        f"splits/{SPLIT_ID}.safetensors",
    ],
)
def test_a_pickle_is_refused_and_the_result_is_computed_again(
    clean: Path, tmp_path: Path, victim: str, bomb: bytes
) -> None:
    storage = copy(clean, tmp_path / "storage")
    if victim.startswith("splits") or "checkpoint" in victim:  # so that it is looked at at all
        (storage / "cells" / CELL_ID / "DONE.json").unlink()
    if victim == f"probes/{PROBE_ID}/checkpoint.safetensors":
        (storage / "probes" / str(PROBE_ID) / "manifest.json").unlink()
    if victim.startswith("probes"):
        (storage / "cells" / CELL_ID / "DONE.json").unlink(missing_ok=True)
    (storage / victim).write_bytes(bomb)
    found = execute(storage)
    expected = CellStore(clean).result(CELL_ID)
    assert expected is not None
    assert found["accuracy"] == expected["accuracy"]
    assert not Path("pwned").exists()
    whole = CellStore(storage).result(CELL_ID)
    assert whole is not None
    assert whole["accuracy"] == expected["accuracy"]


def test_curves_that_are_pickled_objects_are_refused_even_with_right_checksums(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    folder = storage / "probes" / str(PROBE_ID)
    (folder / "curves.npy").write_bytes(numpy_bomb())
    forge(folder, "manifest.json")
    assert not CurveStore(storage).has(str(PROBE_ID))
    with pytest.raises(CorruptError, match=r"curves\.npy"):
        CurveStore(storage).read(str(PROBE_ID))


@pytest.mark.parametrize("arrays", [{}, {"meta": [0]}, {name: [[0]] for name in ("meta", "y")}])
def test_a_split_that_is_none_is_made_again(
    clean: Path, tmp_path: Path, arrays: dict[str, Any]
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (storage / "cells" / CELL_ID / "DONE.json").unlink()
    path = storage / "splits" / f"{SPLIT_ID}.safetensors"
    before = path.read_bytes()
    save_arrays(path, {name: np.array(values) for name, values in arrays.items()})
    execute(storage)
    assert path.read_bytes() == before


# ---------------------------------------------------------------- names that are paths


@pytest.mark.parametrize(
    "name",
    [
        "../../secret",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "nul\0",
        "x" * 5000,
        "../model.safetensors",
    ],
)
def test_a_list_of_files_names_files_of_its_own_folder_or_is_refused(
    clean: Path, tmp_path: Path, name: str
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (tmp_path / "secret").write_text("x")
    (storage / "secret").write_text("x")
    folder = storage / "cells" / CELL_ID
    forge(folder, "DONE.json", files={name: sha256(storage / "secret")})
    assert CellStore(storage).result(CELL_ID) is None


@pytest.mark.parametrize("files", [None, 5, "x", ["model.safetensors"], {"config.json": 5}])
def test_a_list_of_files_that_is_none_is_refused(clean: Path, tmp_path: Path, files: Any) -> None:
    storage = copy(clean, tmp_path / "storage")
    forge(storage / "cells" / CELL_ID, "DONE.json", files=files)
    assert CellStore(storage).result(CELL_ID) is None


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".hidden", "", "a\nb"])
def test_a_grid_has_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    store = CellStore(tmp_path / "storage")
    with pytest.raises(CurvetuneError):
        store.write_grid(name, {"cells": []})
    with pytest.raises(CurvetuneError):
        store.read_grid(name)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_was_copied_from_another_cell_is_not_this_ones(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    other = "0123456789abcdef"
    for kind in ("cells", "probes"):
        (only,) = (storage / kind).iterdir()
        only.rename(storage / kind / other)
    assert CellStore(storage).result(other) is None
    assert not CurveStore(storage).has(other)


# ---------------------------------------------------------------- links, pipes and devices


def _link_to_a_copy(path: Path, outside: Path) -> None:
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def _link_to_zeros(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("replace", [_link_to_a_copy, _link_to_zeros, _pipe])
@pytest.mark.parametrize(
    "victim",
    ["DONE.json", "model.safetensors", "config.json", "history.jsonl", "samples.safetensors"],
)
def test_what_is_no_file_in_the_folder_of_a_cell_is_not_read_and_is_replaced(
    clean: Path, tmp_path: Path, victim: str, replace: Callable[[Path, Path], None]
) -> None:
    storage, outside = copy(clean, tmp_path / "storage"), tmp_path / "outside"
    replace(storage / "cells" / CELL_ID / victim, outside)
    before = outside.read_bytes() if outside.exists() else b""
    assert CellStore(storage).result(CELL_ID) is None
    execute(storage)
    assert CellStore(storage).result(CELL_ID) is not None
    assert not (storage / "cells" / CELL_ID / victim).is_symlink()
    assert (outside.read_bytes() if outside.exists() else b"") == before


@pytest.mark.parametrize("replace", [_link_to_a_copy, _link_to_zeros, _pipe, _folder])
def test_no_reader_follows_a_link_or_waits_for_a_pipe(
    tmp_path: Path, replace: Callable[[Path, Path], None]
) -> None:
    path, outside = tmp_path / "file", tmp_path / "outside"
    save_state(path, {"epoch": 1})
    replace(path, outside)
    for read in (load_arrays, load_state, read_json, sha256):
        with pytest.raises(CorruptError, match="file"):
            read(path)
    with pytest.raises(ValueError, match="file"):
        read_rows(path)
    assert Checkpoint(path, 1).load() is None


@pytest.mark.parametrize("level", ["cells", f"cells/{CELL_ID}", "splits", "probes"])
def test_a_folder_that_leads_out_of_the_storage_is_refused_before_anything_is_written(
    clean: Path, tmp_path: Path, level: str
) -> None:
    storage, outside = copy(clean, tmp_path / "storage"), tmp_path / "outside"
    (storage / level).rename(outside)
    (storage / level).symlink_to(outside)
    if level != f"cells/{CELL_ID}" and level != "cells":
        (storage / "cells" / CELL_ID / "DONE.json").unlink()
    before = sorted(outside.rglob("*"))
    with pytest.raises(StorageError, match="a link that leads out of the storage"):
        execute(storage)
    assert sorted(outside.rglob("*")) == before


def test_a_link_within_the_storage_and_to_the_whole_of_it_is_followed(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (storage / "cells").rename(storage / "more")
    (storage / "cells").symlink_to("more")
    (tmp_path / "link").symlink_to("storage")
    for root in (storage, tmp_path / "link"):
        assert CellStore(root).result(CELL_ID) is not None


def test_a_record_of_a_grid_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    write_grid(tmp_path / "storage", make_cells(seeds=[0]))
    path = tmp_path / "storage" / "grids" / "small.json"
    _link_to_a_copy(path, tmp_path / "outside")
    with pytest.raises(CorruptError, match="a link, which is not followed"):
        read_grid(tmp_path / "storage", "small")
    (tmp_path / "storage" / "grids").rename(tmp_path / "grids")
    (tmp_path / "storage" / "grids").symlink_to(tmp_path / "grids")
    with pytest.raises(StorageError, match="a link that leads out"):
        CellStore(tmp_path / "storage").write_grid("small", {"cells": []})
