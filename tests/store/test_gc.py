import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from storage_fixtures import (
    DIGEST,
    add_epochs,
    add_probe_epochs,
    fail,
    finish,
    make_cells,
    shift,
    store_probe,
    write_grid,
)
from typer.testing import CliRunner, Result

from curvetune.cli import gc as command
from curvetune.config import CellConfig
from curvetune.errors import BusyError, ConfigError, CorruptError, StorageError
from curvetune.store import CellStore, CurveStore, garbage
from curvetune.store.arrays import save_arrays
from curvetune.store.files import write_json
from curvetune.store.garbage import FROZEN_S, KEPT_S, find_garbage, remove_garbage
from curvetune.store.lease import leased, read_holder

CROSS, CURVE = {"name": "cross-entropy"}, {"name": "curvenet"}


@pytest.fixture
def cells() -> list[CellConfig]:
    """A seed for each cell, and a probe for each that has one."""
    cross = make_cells([CROSS], imbalances=(1,), noise_rates=(0.4,), seeds=range(3))
    return cross + make_cells([CURVE], imbalances=(1,), noise_rates=(0.4,), seeds=range(3))


def cell_folder(root: Path, cell: CellConfig) -> Path:
    return CellStore(root).folder(cell.cell_id(DIGEST))


def probe_folder(root: Path, cell: CellConfig) -> Path:
    return CurveStore(root).folder(str(cell.probe_id(DIGEST)))


def split(root: Path, cell: CellConfig) -> Path:
    path = root / "splits" / f"{cell.split_id(DIGEST)}.safetensors"
    save_arrays(path, {"y": np.zeros(3)})
    return path


def found(root: Path, now: float | None = None) -> dict[str, str]:
    return {str(item.path): item.kind for item in find_garbage(root, now)}


def inside(root: Path, path: Path) -> str:
    return str(path.relative_to(root))


def files(root: Path) -> dict[str, bytes]:
    return {inside(root, p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def remove_all(root: Path, now: float | None = None) -> list[str]:
    return [why for _, why in remove_garbage(root, find_garbage(root, now))]


def run(root: Path, *arguments: str, input_: str | None = None) -> Result:
    app = typer.Typer()
    app.command()(command.gc)
    return CliRunner().invoke(
        app, ["--storage", str(root), *arguments], catch_exceptions=False, input=input_
    )


@pytest.fixture
def root(tmp_path: Path, cells: list[CellConfig]) -> Path:
    """A grid of one cell of each method, both done, and all sorts of things beside it."""
    cross, curve = cells[0], cells[3]
    write_grid(tmp_path, [cross, curve])
    for cell in (cross, curve):
        finish(tmp_path, cell, 70)
        split(tmp_path, cell)
    add_epochs(tmp_path, cells[1], 2)  # begun, of no grid
    save_arrays(cell_folder(tmp_path, cells[1]) / "checkpoint.safetensors", {"x": np.zeros(100)})
    store_probe(tmp_path, cells[4])  # of no grid
    split(tmp_path, cells[4])
    return tmp_path


def test_what_no_grid_refers_to_is_found(root: Path, cells: list[CellConfig]) -> None:
    assert found(root) == {
        inside(root, cell_folder(root, cells[1])): "cell",
        inside(root, probe_folder(root, cells[4])): "probe",
        inside(root, split(root, cells[4])): "split",
    }
    (cell,) = [item for item in find_garbage(root) if item.kind == "cell"]
    assert cell.size == sum(p.stat().st_size for p in (root / cell.path).iterdir())


def test_removing_it_leaves_every_grid_bit_for_bit(root: Path, cells: list[CellConfig]) -> None:
    gone = tuple(found(root))
    needed = {name: content for name, content in files(root).items() if not name.startswith(gone)}
    assert remove_all(root) == ["", "", ""]
    left = files(root)
    assert {name: left[name] for name in needed} == needed
    assert all("lease-" in name for name in left.keys() - needed.keys())
    assert found(root) == {}
    assert CellStore(root).result(cells[0].cell_id(DIGEST)) is not None
    assert CurveStore(root).has(str(cells[3].probe_id(DIGEST)))


def test_what_is_run_now_is_not_found_nor_removed(root: Path, cells: list[CellConfig]) -> None:
    add_epochs(root, cells[4], 1)  # it reads the probe and the split
    before = find_garbage(root)
    assert len(before) == 4
    with leased(cell_folder(root, cells[1])), leased(cell_folder(root, cells[4])):
        assert found(root) == {}
        problems = {item.kind: why for item, why in remove_garbage(root, before[:1])}
        assert "is working on it" in problems["cell"]
    with leased(probe_folder(root, cells[4])):
        assert "probe" not in found(root).values()
        (problem,) = [why for item, why in remove_garbage(root, before) if item.kind == "probe"]
        assert "is working on it" in problem
    assert CurveStore(root).has(str(cells[4].probe_id(DIGEST)))


def test_a_process_that_has_just_begun_something_unknown_stops_everything(root: Path) -> None:
    folder = root / "cells" / ("f" * 16)
    with leased(folder), pytest.raises(BusyError, match="try again later"):
        find_garbage(root)


def test_a_process_that_was_only_frozen_still_finds_that_it_lost_its_lease(
    root: Path, cells: list[CellConfig]
) -> None:
    folder = cell_folder(root, cells[1])
    with leased(folder) as frozen:
        os.utime(folder / f"lease-{frozen.token:06d}.json", (0, 0))
        remove_all(root)
        assert [p.name for p in folder.iterdir()] == [f"lease-{frozen.token + 1:06d}.json"]
        with pytest.raises(Exception, match="another process took over"):
            frozen.check()
    assert inside(root, folder) not in found(root)
    later = time.time() + FROZEN_S + 5
    assert found(root, later)[inside(root, folder)] == "cell"
    remove_all(root, later)
    assert not folder.exists()


def test_a_done_cell_that_no_grid_refers_to_stays_with_its_split_unless_it_is_asked_for(
    root: Path, cells: list[CellConfig]
) -> None:
    finish(root, cells[2], 60)
    kept = split(root, cells[2])
    assert found(root)[inside(root, cell_folder(root, cells[2]))] == "result"
    assert inside(root, kept) not in found(root)
    assert run(root, "--yes").exit_code == 0
    assert (cell_folder(root, cells[2]) / "DONE.json").exists()
    result = run(root, "--dry-run")
    assert "they stay: --cells removes them" in result.stdout
    assert run(root, "--yes", "--cells").exit_code == 0
    assert not (cell_folder(root, cells[2]) / "DONE.json").exists()
    assert found(root) == {inside(root, kept): "split"}


def test_splits_stay_while_it_is_not_known_who_needs_them(
    root: Path, cells: list[CellConfig]
) -> None:
    assert "split" in found(root).values()
    finish(root, cells[5], 60)
    path = cell_folder(root, cells[5]) / "config.json"
    write_json(path, cells[5].model_dump(mode="json"))  # as a very old version did
    assert "split" not in found(root).values()


def test_a_checkpoint_beside_a_result_is_garbage_and_that_of_a_begun_cell_is_not(
    tmp_path: Path, cells: list[CellConfig]
) -> None:
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 70)
    add_epochs(tmp_path, cells[1], 2)
    fail(tmp_path, cells[2])
    add_probe_epochs(tmp_path, cells[3], 2)
    paths = [cell_folder(tmp_path, cell) / "checkpoint.safetensors" for cell in cells[:3]]
    paths.append(probe_folder(tmp_path, cells[3]) / "checkpoint.safetensors")
    for path in paths:
        save_arrays(path, {"x": np.zeros(10)})
    assert found(tmp_path) == {inside(tmp_path, paths[0]): "checkpoint"}
    assert remove_all(tmp_path) == [""]
    assert CellStore(tmp_path).result(cells[0].cell_id(DIGEST)) is not None


def test_what_killed_processes_left_is_found_an_hour_later(
    tmp_path: Path, cells: list[CellConfig]
) -> None:
    write_grid(tmp_path, cells[:2])
    finish(tmp_path, cells[0], 70)
    left = [
        cell_folder(tmp_path, cells[0]) / ".DONE.json.a1b2c3",
        cell_folder(tmp_path, cells[0]) / "hang-small-1234.log",
        tmp_path / "grids" / ".small.json.x",
        tmp_path / ".tune" / "small-1234",
    ]
    left[3].mkdir(parents=True)
    for path in left[:3]:
        path.write_bytes(b"half")
    (tmp_path / "grids" / ".DS_Store").touch()
    (tmp_path / ".env.local").touch()  # a file of the user, who keeps results among others
    assert found(tmp_path) == {}
    later = time.time() + KEPT_S + 5
    assert found(tmp_path, later) == {inside(tmp_path, path): "temporary" for path in left}
    with leased(cell_folder(tmp_path, cells[1])):  # somebody runs a grid, so .tune may be his
        assert inside(tmp_path, left[3]) not in found(tmp_path, later)
    assert remove_all(tmp_path, later) == [""] * 4
    assert not any(path.exists() for path in left)


def test_a_clock_that_is_two_hours_ahead_makes_nothing_old(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "grids" / ".small.json.x1y2z3").touch()  # being written, by another host
    (root / ".tune" / "small-1").mkdir(parents=True)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    assert "temporary" not in found(root).values()


def test_nothing_outside_the_root_is_touched(tmp_path: Path, cells: list[CellConfig]) -> None:
    root, elsewhere = tmp_path / "storage", tmp_path / "elsewhere"
    write_grid(root, cells[:1])
    for name in ("0" * 16, "1" * 16):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "config.json").write_text("{}")
    (root / "cells").mkdir()
    (root / "cells" / ("0" * 16)).symlink_to(elsewhere / ("0" * 16))
    (root / "probes").symlink_to(elsewhere)
    inner = root / "cells" / ("2" * 16)
    inner.mkdir()
    (inner / "link").symlink_to(elsewhere / ("0" * 16), target_is_directory=True)
    (root / "cells" / "notes").mkdir()
    before = files(elsewhere)
    assert found(root) == {inside(root, inner): "cell"}
    assert remove_all(root) == [""]
    assert files(elsewhere) == before
    assert (root / "cells" / "notes").exists()
    assert not (inner / "link").is_symlink()


def test_the_file_of_a_grid_that_is_damaged_stops_everything(
    root: Path, cells: list[CellConfig]
) -> None:
    before = files(root)
    for text in ("{", "[]", '{"cells": [{}]}', "{}"):
        (root / "grids" / "bad.json").write_text(text)
        with pytest.raises(CorruptError, match=r"grids/bad\.json"):
            run(root, "--yes")
    (root / "grids" / "bad.json").unlink()
    assert files(root) == before


def test_a_full_disk_can_be_freed(
    root: Path, cells: list[CellConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "x" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    assert set(remove_all(root)) == {""}
    assert not (cell_folder(root, cells[1]) / "history.jsonl").exists()
    assert found(root) == {}


def test_without_yes_and_without_a_terminal_nothing_is_removed(root: Path) -> None:
    before = files(root)
    with pytest.raises(ConfigError, match="nothing was removed: add --yes"):
        run(root)
    with pytest.raises(ConfigError, match="nothing was removed: add --yes"):
        run(root, "--json")
    assert run(root, "--dry-run").exit_code == 0
    assert files(root) == before


@pytest.mark.parametrize(("answer", "removed"), [("n\n", False), ("y\n", True)])
def test_on_a_terminal_it_asks(
    root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool
) -> None:
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    before = files(root)
    result = run(root, input_=answer)
    assert result.exit_code == 0
    assert "Remove " in result.stderr
    assert (files(root) != before) == removed


def test_as_json_it_says_what_was_removed_and_how_much(root: Path, cells: list[CellConfig]) -> None:
    size = sum(item.size for item in find_garbage(root))
    listed = json.loads(run(root, "--dry-run", "--json").stdout)
    assert (listed["schema_version"], listed["dry_run"], listed["bytes"]) == (1, True, size)
    assert listed["bytes_removed"] == 0
    done = json.loads(run(root, "--yes", "--json").stdout)
    assert done["bytes_removed"] == size
    assert [item["path"] for item in done["items"]] == [item["path"] for item in listed["items"]]
    assert all(item["removed"] for item in done["items"])
    assert json.loads(run(root, "--yes", "--json").stdout)["items"] == []


def test_what_could_not_be_removed_is_said(root: Path, cells: list[CellConfig]) -> None:
    def taken(root: Path) -> Any:
        holding.__enter__()
        return listed

    listed, holding = find_garbage(root), leased(cell_folder(root, cells[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage, "find_garbage", taken)  # taken between the look and the removal
        with pytest.raises(StorageError, match=r"1 were not removed:\n.*is working on it"):
            run(root, "--yes")
    holding.__exit__(None, None, None)
    assert (cell_folder(root, cells[1]) / "history.jsonl").exists()


def test_a_folder_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="holds no results"):
        run(tmp_path, "--yes")


def test_a_storage_without_grids_says_so(tmp_path: Path, cells: list[CellConfig]) -> None:
    add_epochs(tmp_path, cells[0], 1)
    shift(cell_folder(tmp_path, cells[0]) / "history.jsonl", -10)
    result = run(tmp_path, "--dry-run")
    assert "has no grid at all" in result.stderr
    assert cells[0].cell_id(DIGEST) in result.stdout
    assert read_holder(cell_folder(tmp_path, cells[0])) is None
