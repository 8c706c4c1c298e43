"""A list with real noise of which the truth is known of all, of some or of no training images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folder import encoded, picture
from public_sets import write
from sklearn.metrics import roc_auc_score

from curvetune import Results, data
from curvetune.analysis.suspects import find_suspects
from curvetune.analysis.weight_auroc import read_samples
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data import TableSource
from curvetune.grids.cells import read_grid
from curvetune.report.figures import draw_all
from curvetune.report.suspects import footnotes, suspects_frame
from curvetune.store import CellStore

N, NUM_TEST = 48, 8
NAMES = ("cat", "dog")
WRONG = (3, 11, 20, 31)  # rows whose label is not the true one
KNOWN = {"all": range(N), "part": range(24), "none": range(0)}


def write_list(root: Path, known: range) -> None:
    """Write a list whose true labels are told in the rows `known`."""
    rows = ["path,label,split,true_label"]
    root.mkdir()
    for k in range(N + NUM_TEST):
        (root / f"{k:03}.png").write_bytes(encoded(picture(k, 8, 8)))
        true = NAMES[k % 2]
        label = NAMES[1 - k % 2] if k in WRONG else true
        told = true if k in known and known else ""
        rows.append(f"{k:03}.png,{label},{'train' if k < N else 'test'},{told}")
    write(root / "list.csv", *rows)


@pytest.fixture(scope="module", params=KNOWN)
def trained(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path, str]:
    """Return what is known, the images, a storage with one cell, and the cell's id."""
    root = tmp_path_factory.mktemp(request.param)
    write_list(root / "images", KNOWN[request.param])
    source = TableSource("list", 8)
    digest = source.digest(root / "images")
    cell = CellConfig.model_validate(
        {
            "data": {"name": "list", "image_size": 8, "meta_per_class": 0},
            "bias": {"noise": "real"},
            "model": {"name": "resnet8"},
            "probe": {"epochs": 4, "cyclic_start": 2, "half_period": 1, "batch_size": 16},
            "allocate": {"epochs": 2, "warmup": 0, "milestones": [1], "batch_size": 16},
            "method": {"name": "focal"},
            "seed": 0,
        }
    )
    storage = root / "storage"
    run_cell(cell, digest, source.load(root / "images"), storage, device=torch.device("cpu"))
    cell_id = cell.cell_id(digest)
    entry = {"cell_id": cell_id, "probe_id": cell.probe_id(digest)}
    grid = {"command": "curvetune grid own", "data_digest": digest}
    entries = [entry | {"config": cell.model_dump(mode="json")}]
    CellStore(storage).write_grid("own", grid | {"cells": entries})
    return request.param, root / "images", storage, cell_id


def test_suspects_are_judged_over_what_is_known(trained: tuple[str, Path, Path, str]) -> None:
    known, images, storage, cell_id = trained
    found = find_suspects(storage, cell_id, images)
    frame = suspects_frame(found, None).sort("index")
    if known == "none":
        assert found.table(5) == {}
        assert "is_wrong" not in frame.columns
        assert "nobody knows which labels are wrong" in " ".join(footnotes(found))
        return
    rows = KNOWN[known]
    expected = [k in WRONG if k in rows else None for k in range(N)]
    assert frame["is_wrong"].to_list() == expected
    assert frame["true_name"].to_list() == [NAMES[k % 2] if k in rows else None for k in range(N)]
    judged = [k in WRONG for k in rows]
    assert found.table(5)["score"]["auroc"] == pytest.approx(
        roc_auc_score(judged, found.score[: len(rows)])
    )
    told = f"of {len(rows)} of {N} labels it is known whether they are wrong"
    assert (told in " ".join(footnotes(found))) == (known == "part")


def test_weights_are_judged_over_what_is_known(trained: tuple[str, Path, Path, str]) -> None:
    known, _, storage, cell_id = trained
    weight = CellStore(storage).samples(cell_id)["weight"]
    (facts,) = read_samples(storage, read_grid(storage, "own"))
    gap = CellStore(storage).result(cell_id)["weight_gap"]  # type: ignore[index]
    if known == "none":
        assert facts.auroc is None
        assert gap is None
        return
    wrong = np.array([k in WRONG for k in KNOWN[known]])
    judged = weight[: len(wrong)]
    assert facts.auroc == pytest.approx(roc_auc_score(wrong, -judged))
    assert gap == pytest.approx(judged[~wrong].mean() - judged[wrong].mean(), rel=1e-4)


def test_a_notebook_has_null_where_nobody_knows(trained: tuple[str, Path, Path, str]) -> None:
    known, _, storage, cell_id = trained
    frame = Results(storage).weights(cell_id)
    rows = KNOWN[known]
    assert frame["is_wrong"].to_list() == [k in WRONG if k in rows else None for k in range(N)]
    assert frame["true_label"].to_list() == [k % 2 if k in rows else None for k in range(N)]


def test_figures_show_what_is_known_apart(trained: tuple[str, Path, Path, str]) -> None:
    known, _, storage, _ = trained
    grid = read_grid(storage, "own")
    wanted = ["class-counts", "weights"]
    drawn = draw_all(storage, grid, cells=grid.cells, only=wanted)
    found = {one.name: legend(one.figure) for one in drawn if one.figure is not None}
    legends = {name: next(v for key, v in found.items() if name in key) for name in wanted}
    told = {"all": {"right label", "wrong label"}, "none": {"given label"}}
    told["part"] = told["all"] | {"nobody knows"}
    assert legends["weights"] == told[known]
    assert ("truly of this class" in legends["class-counts"]) == (known == "all")
    assert ("wrongly" in legends["class-counts"]) == (known != "none")


def legend(figure: Any) -> set[str]:
    texts = (text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts())
    return set(texts)


def test_what_is_known_decides_no_number_of_training(tmp_path: Path) -> None:
    made = {}
    for known in ("all", "none"):
        write_list(tmp_path / known, KNOWN[known])
        made[known] = TableSource("list", 8).load(tmp_path / known)
    assert np.array_equal(made["all"].train.x, made["none"].train.x)
    assert np.array_equal(made["all"].train.y, made["none"].train.y)
    assert isinstance(data.find_source("list", image_size=8), TableSource)
