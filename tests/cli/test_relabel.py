"""`curvetune relabel` on grids that were really trained: what changes, stays, and is gained."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from image_folder import write_images
from relabel_helpers import METHOD, files, write
from trained_grid import GRID, train_grid
from typer.testing import CliRunner, Result

from curvetune import data
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.data.folder import Folder
from curvetune.errors import ConfigError
from curvetune.grids.splits import stored_split
from curvetune.places import Places
from curvetune.planning.plan import cell_json
from curvetune.relabelling import Relabelled, make_relabel
from curvetune.store import CellStore
from curvetune.training.split import load_split, made_split


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[CellConfig]]:
    """Cross entropy without and with noise, two seeds each."""
    root = tmp_path_factory.mktemp("storage")
    return root, train_grid(root, methods=METHOD, seeds=(0, 1))


def run(root: Path, *arguments: object) -> Result:
    words = ["relabel", *map(str, arguments), "--storage", str(root)]
    return CliRunner().invoke(app, words)


def made(root: Path, labels: Path, grid: str = GRID) -> Relabelled:
    return make_relabel(grid, labels, Places(None, root), lambda _: None)


def wrong_of(root: Path, cell: CellConfig) -> dict[int, int]:
    """Return the true class of each training sample whose given label is wrong."""
    split = stored_split(root, cell, data.digest("digits"))
    return dict(
        zip(split.train[split.wrong].tolist(), split.y_true[split.wrong].tolist(), strict=True)
    )


def test_only_cells_whose_labels_change_become_others(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    root, (clean0, clean1, noisy0, noisy1) = cells
    digest = data.digest("digits")
    truth = wrong_of(root, noisy0)
    found = made(root, write(tmp_path / "fixed.csv", truth))
    by_old = {change.old_id: change for change in found.what.changes}
    for cell in (clean0, clean1):  # their labels are true already
        change = by_old[cell.cell_id(digest)]
        trained = set(stored_split(root, cell, digest).train.tolist())
        assert (change.applied, change.is_changed) == (0, False)
        assert change.agreed == len(trained & truth.keys())
        assert change.config == cell
    change = by_old[noisy0.cell_id(digest)]
    assert (change.applied, change.agreed) == (len(truth), 0)
    assert change.config.data.relabel is not None
    assert found.plan.name == f"{GRID}-relabelled-{change.config.data.relabel[:8]}"
    other = by_old[noisy1.cell_id(digest)]
    wrong1 = wrong_of(root, noisy1)
    assert other.applied == len(truth.keys() & wrong1.keys())  # the truth is the same for all
    assert {cell.cell_id for cell in found.plan.left} == {c.new_id for c in found.what.changed}


def test_the_new_split_differs_in_the_corrected_labels_only(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    root, noisy = cells[0], cells[1][2]
    digest, dataset = data.digest("digits"), data.load("digits")
    truth = wrong_of(root, noisy)
    some = dict(list(truth.items())[:5])
    found = made(root, write(tmp_path / "fixed.csv", some))
    old = stored_split(root, noisy, digest)
    (new,) = (c.config for c in found.what.changes if c.old_id == noisy.cell_id(digest))
    here = tmp_path / "storage"
    found.keep(here)
    split = load_split(new, digest, dataset, here)
    assert set(split.train[split.y != old.y].tolist()) == set(some)
    assert split.wrong.sum() == old.wrong.sum() - 5
    for name in ("meta", "train", "y_true", "test"):
        assert np.array_equal(split.arrays()[name], old.arrays()[name])
    assert np.array_equal(split.y, made_split(new, digest, dataset, here).y)  # also made anew


def test_ids_of_cells_without_corrected_labels_are_as_before_there_were_any() -> None:
    cell = CellConfig.model_validate({"data": {"name": "digits", "relabel": None}})
    assert cell.cell_id("0" * 64) == CellConfig().cell_id("0" * 64)
    assert "relabel" not in cell.data.identity()
    corrected = CellConfig.model_validate({"data": {"relabel": "0123456789abcdef"}})
    assert corrected.cell_id("0" * 64) != cell.cell_id("0" * 64)


def test_a_dry_run_says_what_changes_and_writes_nothing(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    root, noisy = cells[0], cells[1][2]
    labels = write(tmp_path / "fixed.csv", [*wrong_of(root, noisy).items(), (1700 - 1000, "")])
    before = files(root)
    shown = run(root, GRID, labels, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "1 rows have no label, so they change nothing" in shown.stderr
    assert "2 of 4 cells change; each of the others keeps its result" in shown.stdout
    assert re.search(r"4 cells, 2 done, 2 to\s+run", shown.stdout)
    found = json.loads(run(root, GRID, labels, "--dry-run", "--json").stdout)
    assert found["cells_changed"] == 2
    assert [c["before"] == c["cell_id"] for c in found["cells"]] == [True, True, False, False]
    assert found["plan"]["cells_to_run"] == 2
    assert "price" in found
    assert files(root) == before


def test_labels_that_are_so_already_change_no_cell_and_nothing_is_run(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    root = cells[0]
    splits = [stored_split(root, cell, data.digest("digits")) for cell in cells[1]]
    wrong = {k for split in splits for k in split.train[split.wrong].tolist()}
    true = dict(zip(splits[2].train.tolist(), splits[2].y_true.tolist(), strict=True))
    labels = write(tmp_path / "fixed.csv", {k: y for k, y in true.items() if k not in wrong})
    before = files(root)
    shown = run(root, GRID, labels)
    assert shown.exit_code == 0, shown.output
    assert "0 of 4 cells change" in shown.stdout
    assert "no label of its training sets changes, so there is nothing to run" in shown.stderr
    assert json.loads(run(root, GRID, labels, "--json").stdout)["cells_changed"] == 0
    assert files(root) == before


def test_corrections_of_samples_that_nobody_trains_on_are_counted(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    root, noisy = cells[0], cells[1][2]
    splits = [stored_split(root, cell, data.digest("digits")) for cell in cells[1]]
    trained = {k for split in splits for k in split.train.tolist()}
    meta = splits[2].meta[~np.isin(splits[2].meta, list(trained))][:2]
    outside = {int(k): 0 for k in meta}
    one = dict(list(wrong_of(root, noisy).items())[:1])
    found = made(root, write(tmp_path / "fixed.csv", {**outside, **one}))
    assert (found.what.size, found.what.unused) == (3, 2)


BAD = {
    "no such sample": ("sample,label\n1700,3\n", "line 2: sample '1700' does not exist"),
    "a label out of range": ("sample,label\n0,10\n", "line 2: label '10'"),
    "a sample twice": ("sample,label\n4,1\n4,2\n", "lines 2 and 3 are both of sample 4"),
    "a missing column": ("index,label\n4,1\n", "its columns are index, label"),
    "an empty file": ("", "it is empty"),
    "a header only": ("sample,label\n", "it has no row below its header"),
    "not UTF-8": ("sample,label\n0,caf\udce9\n", "allowed is CSV in UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_list_ends_with_2_and_costs_nothing(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path, case: str
) -> None:
    root, (text, message) = cells[0], BAD[case]
    path = tmp_path / "fixed.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = files(root)
    error = run(root, GRID, path).exception
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert str(error).startswith(str(path))
    assert message in str(error)
    assert files(root) == before


def test_a_grid_that_is_not_there_or_not_begun_is_refused(
    cells: tuple[Path, list[CellConfig]], tmp_path: Path
) -> None:
    labels = write(tmp_path / "fixed.csv", {0: 1})
    with pytest.raises(ConfigError, match=r"unknown grid 'tini' \(did you mean 'tiny'\?\)"):
        made(cells[0], labels, "tini")
    grid = CellStore(cells[0]).read_grid(GRID)
    CellStore(tmp_path).write_grid("new", {k: grid[k] for k in ("cells", "command", "data_digest")})
    with pytest.raises(ConfigError, match=r"none of its 4 cells is done.*run it first: curvetune"):
        made(tmp_path, labels, "new")


def test_an_address_of_corrected_labels_that_the_storage_has_not_is_refused_before_a_run(
    tmp_path: Path,
) -> None:
    cell = CellConfig.model_validate({"data": {"relabel": "0123456789abcdef"}})
    with pytest.raises(ConfigError, match=r"data\.relabel=0123456789abcdef: .* is not there"):
        load_split(cell, data.digest("digits"), data.load("digits"), tmp_path)
    with pytest.raises(ValueError, match="should match pattern"):
        CellConfig.model_validate({"data": {"relabel": "../../etc"}})


def train(root: Path, found: Relabelled) -> None:
    """Do what `run_plan` does, without Ray."""
    found.keep(root)
    digest, dataset = data.digest("digits"), data.load("digits")
    for cell in found.plan.left:
        run_cell(cell.config, digest, dataset, root, device=torch.device("cpu"))
    entries = [cell_json(cell) for cell in found.plan.cells]
    grid = {"command": "curvetune relabel tiny", "data_digest": digest, "cells": entries}
    CellStore(root).write_grid(found.plan.name, grid)


@pytest.fixture(scope="module")
def corrected(
    cells: tuple[Path, list[CellConfig]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Relabelled, Path]:
    """A copy of the storage in which half of the wrong labels of a cell are corrected."""
    root = tmp_path_factory.mktemp("corrected") / "storage"
    shutil.copytree(cells[0], root)
    truth = list(wrong_of(root, cells[1][2]).items())
    labels = write(root.parent / "fixed.csv", truth[: len(truth) // 2])
    found = made(root, labels)
    train(root, found)
    return root, found, labels


def test_the_same_list_again_leaves_nothing_to_run_also_from_the_copy_in_the_storage(
    corrected: tuple[Path, Relabelled, Path],
) -> None:
    root, found, labels = corrected
    (copy,) = (root / "relabels").glob("*.csv")
    for path in (labels, copy):
        again = made(root, path)
        assert again.plan.name == found.plan.name
        assert not again.plan.left
        assert again.what == found.what


def test_more_corrections_of_a_relabelled_grid_come_on_top(
    corrected: tuple[Path, Relabelled, Path], tmp_path: Path
) -> None:
    root, found, _ = corrected
    noisy = found.what.changes[2]
    rest = wrong_of(root, noisy.config)
    more = made(root, write(tmp_path / "more.csv", rest), found.plan.name)
    last = next(c for c in more.what.changes if c.old_id == noisy.new_id)
    assert last.applied == len(rest) > 0
    assert more.plan.name.startswith(f"{found.plan.name}-relabelled-")
    more.keep(root)
    split = made_split(last.config, data.digest("digits"), data.load("digits"), root)
    assert not split.wrong.any()


def test_corrections_that_are_taken_back_lead_to_the_old_results(
    corrected: tuple[Path, Relabelled, Path], tmp_path: Path
) -> None:
    root, found, _ = corrected
    noisy = found.what.changes[2]
    old = stored_split(root, noisy.old, data.digest("digits"))
    given = dict(zip(old.train.tolist(), old.y.tolist(), strict=True))
    back = made(root, write(tmp_path / "back.csv", given), found.plan.name)
    change = next(c for c in back.what.changes if c.old_id == noisy.new_id)
    assert change.new_id == noisy.old_id
    assert change.config == noisy.old


def test_a_cell_that_is_not_done_has_no_before_and_is_left_out(
    corrected: tuple[Path, Relabelled, Path], tmp_path: Path
) -> None:
    root = tmp_path / "storage"
    shutil.copytree(corrected[0], root)
    gone = corrected[1].what.changes[3]
    (CellStore(root).folder(gone.old_id) / "DONE.json").unlink()
    found = made(root, corrected[2])
    assert found.what.missing == 1
    assert gone.old_id not in {change.old_id for change in found.what.changes}
    assert gone.new_id not in {cell.cell_id for cell in found.plan.cells}


@pytest.mark.parametrize("noise", ["real", "symmetric"])
def test_a_list_of_suspects_of_a_folder_can_be_filled_in_and_fed_back(
    tmp_path: Path, noise: str
) -> None:
    images, root = tmp_path / "images", tmp_path / "storage"
    write_images(images)
    config = CellConfig.model_validate(
        {
            "data": {"name": "folder", "image_size": 16, "meta_per_class": 0},
            "bias": {"noise": noise},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 2, "warmup": 0, "milestones": [], "batch_size": 8},
        }
    )
    source = data.find_source("folder", image_size=16)
    digest, dataset = source.digest(images), source.load(images)
    run_cell(config, digest, dataset, root, device=torch.device("cpu"))
    cell_id = config.cell_id(digest)
    entry = {"cell_id": cell_id, "probe_id": None, "config": config.model_dump(mode="json")}
    grid = {"command": "curvetune grid folder", "data_digest": digest, "cells": [entry]}
    CellStore(root).write_grid("pets", grid)
    path = tmp_path / "list.csv"
    options = ["--format", "labels", "--top", "4", "--out", str(path), "--data-dir", str(images)]
    shown = CliRunner().invoke(app, ["suspects", cell_id, *options, "--storage", str(root)])
    assert shown.exit_code == 0, shown.output
    frame = polars.read_csv(path)
    assert frame.columns == ["sample", "label", "given", "other", "score"]
    assert frame["label"].is_null().all()
    assert all((images / file).is_file() for file in frame["sample"])
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    rows[1]["label"] = "bee" if rows[1]["given"] != "bee" else "cat"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, frame.columns)
        writer.writeheader()
        writer.writerows(rows)
    found = make_relabel("pets", path, Places(images, root), lambda _: None)
    (change,) = found.what.changes
    assert (change.applied, found.what.empty) == (1, 3)
    found.keep(root)
    split = made_split(change.config, digest, dataset, root)
    (k,) = np.flatnonzero(split.y != stored_split(root, config, digest).y)
    assert isinstance(source, Folder)
    assert source.train_files(images)[split.train[k]] == rows[1]["sample"]
    assert dataset.class_names[split.y[k]] == rows[1]["label"]
    assert not split.wrong.any()  # nobody added a wrong label, so the corrected one is no such
