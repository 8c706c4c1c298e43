"""A cell that is paused after some epochs: what it leaves, and that it ends as if it never was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cell import DIGEST, files_of, run, small_cell

from curvetune import data
from curvetune.config import CellConfig, CoTeachingConfig, CurveNetConfig, GCEConfig
from curvetune.errors import PausedError, StoppedError
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import Cell, CellReader, Grid
from curvetune.status.watch import is_complete
from curvetune.store import CellStore
from curvetune.store.names import CHECKPOINT, FAILED, HISTORY, PAUSED
from curvetune.tracking.sync.statuses import status_of, status_of_many


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    torch.set_num_threads(1)
    return data.load("digits")


def paused(cell: CellConfig, digits: data.Dataset, root: Path, until: int, **more: Any) -> Path:
    with pytest.raises(PausedError, match=f"paused after {until} of 4 epochs"):
        run(cell, digits, root, until=until, **more)
    return CellStore(root).folder(cell.cell_id(DIGEST))


def looked_at(root: Path, cell: CellConfig) -> Cell:
    entry = {
        "cell_id": cell.cell_id(DIGEST),
        "probe_id": cell.probe_id(DIGEST),
        "config": cell.model_dump(mode="json"),
    }
    return CellReader(root).read(entry, cell.method.name)


@pytest.mark.parametrize(
    "method",
    [
        GCEConfig(),
        CoTeachingConfig(),
        CurveNetConfig(removed_losses=1, meta_batch_size=20),
    ],
)
def test_a_cell_that_was_paused_twice_ends_bit_for_bit_as_one_that_never_was(
    tmp_path: Path, digits: data.Dataset, method: Any
) -> None:
    cell = small_cell(method)
    straight = run(cell, digits, tmp_path / "straight")
    folder = paused(cell, digits, tmp_path / "paused", 1)
    assert (folder / CHECKPOINT).exists()
    assert len(CellStore(tmp_path / "paused").history(folder.name)) == 1
    paused(cell, digits, tmp_path / "paused", 3)
    seen: list[Any] = []
    done = run(cell, digits, tmp_path / "paused", on_event=seen.append)
    assert [event["epoch"] for event in seen if event["stage"] == "allocate"] == [3]
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "paused", cell)
    of_time = ("seconds", "finished", "files", "sha256")
    assert {k: v for k, v in done.items() if k not in of_time} == {
        k: v for k, v in straight.items() if k not in of_time
    }
    assert not (folder / PAUSED).exists()


def test_one_that_is_asked_again_runs_nothing_and_one_with_fewer_epochs_ends(
    tmp_path: Path, digits: data.Dataset
) -> None:
    cell = small_cell(GCEConfig())
    folder = paused(cell, digits, tmp_path, 2)
    (folder / HISTORY).unlink()  # as a power cut may leave it
    seen: list[Any] = []
    with pytest.raises(PausedError):
        run(cell, digits, tmp_path, until=2, on_event=seen.append)
    assert seen == []
    assert len(CellStore(tmp_path).history(folder.name)) == 2
    assert "accuracy" in run(cell, digits, tmp_path, until=9)


def test_without_its_checkpoint_it_begins_again_and_has_the_same_numbers(
    tmp_path: Path, digits: data.Dataset
) -> None:
    cell = small_cell(GCEConfig())
    run(cell, digits, tmp_path / "straight")
    folder = paused(cell, digits, tmp_path / "lost", 2)
    (folder / CHECKPOINT).write_bytes(b"damaged")
    run(cell, digits, tmp_path / "lost")
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "lost", cell)


def test_one_that_is_stopped_on_its_way_goes_on_to_where_it_pauses(
    tmp_path: Path, digits: data.Dataset
) -> None:
    cell, seen = small_cell(GCEConfig()), []  # type: ignore[var-annotated]
    with pytest.raises(StoppedError) as stopped:
        run(
            cell,
            digits,
            tmp_path,
            until=3,
            on_event=seen.append,
            stop=lambda: any(event.get("epoch") == 0 for event in seen),
        )
    assert not isinstance(stopped.value, PausedError)
    assert looked_at(tmp_path, cell).state == "stale"
    paused(cell, digits, tmp_path, 3, on_event=seen.append)
    assert [event["epoch"] for event in seen if "epoch" in event] == [0, 1, 2]


def test_it_is_neither_failed_nor_running_nor_left(tmp_path: Path, digits: data.Dataset) -> None:
    cell = small_cell(GCEConfig())
    CellStore(tmp_path).fail(cell.cell_id(DIGEST), "OSError: no", "", kind="oom")
    folder = paused(cell, digits, tmp_path, 1)
    assert not (folder / FAILED).exists()  # its last try has not failed
    found = looked_at(tmp_path, cell)
    assert (found.state, found.error) == ("paused", None)
    grid = Grid("small", "", DIGEST, (found,))
    progress = grid_progress(grid)
    assert progress.cells[0].words == "paused at allocate 1/4"
    assert progress.seconds_left is None
    assert is_complete(progress)
    assert grid.counts()["paused"] == 1
    assert status_of(found, running=False)[0] == "KILLED"
    assert status_of_many([found], running=False)[0] == "FINISHED"
    assert json.loads((folder / PAUSED).read_text())["schema_version"] == 2
