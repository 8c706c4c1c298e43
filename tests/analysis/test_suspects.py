"""Scores against sklearn, cleanlab and hand counts; the command on a real small digits cell."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
from image_folder import write_images
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from curvetune import data
from curvetune.analysis import scores
from curvetune.analysis.suspects import find_suspects
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.errors import ConfigError, DataError
from curvetune.grids.naming import find_cell
from curvetune.report.pages.suspects import suspects_page
from curvetune.report.suspects import (
    cleanlab_frame,
    footnotes,
    print_suspects,
    score_rows,
    suspects_frame,
)
from curvetune.store import CellStore, CurveStore
from curvetune.system.terminal import plain_console

SHORT: dict[str, Any] = {
    "model": {"name": "resnet8"},
    "probe": {"epochs": 8, "cyclic_start": 4, "half_period": 2, "batch_size": 32},
    "allocate": {"epochs": 6, "warmup": 0, "milestones": [4], "batch_size": 32},
}


def digits_cell(method: str = "curvenet", seed: int = 0, rate: float = 0.4) -> CellConfig:
    options = {"removed_losses": 1} if method == "curvenet" else {}
    return CellConfig.model_validate(
        SHORT
        | {
            "data": {"name": "digits", "per_class_limit": 40, "test_limit": 50},
            "bias": {"imbalance": 1, "noise": "symmetric", "noise_rate": rate},
            "seed": seed,
            "method": {"name": method, **options},
        }
    )


def run(storage: Path, cell: CellConfig, digest: str, dataset: data.Dataset) -> str:
    result = run_cell(cell, digest, dataset, storage, device=torch.device("cpu"))
    return str(result["cell_id"])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of curvenet (two seeds, of which one is run), cross entropy, ldam and elr-plus."""
    root = tmp_path_factory.mktemp("storage")
    digest, dataset = data.digest("digits"), data.load("digits")
    others = ("cross-entropy", "ldam-drw", "elr-plus")
    cells = [digits_cell(), *map(digits_cell, others)]
    for cell in cells:
        run(root, cell, digest, dataset)
    cells.append(digits_cell(seed=1))
    entries = [
        {
            "cell_id": cell.cell_id(digest),
            "probe_id": cell.probe_id(digest),
            "config": cell.model_dump(mode="json"),
        }
        for cell in cells
    ]
    grid = {"command": "curvetune grid tiny", "data_digest": digest, "cells": entries}
    CellStore(root).write_grid("tiny", grid)
    return root


def cell_id(method: str = "curvenet") -> str:
    return digits_cell(method).cell_id(data.digest("digits"))


def test_with_margins_the_score_is_of_them_the_last_loss_and_the_weight() -> None:
    aum, last = np.array([4.0, 3, 2, 1]), np.array([1.0, 2, 4, 3])
    score, made_of = scores.suspicion(-aum, last, None, aum)
    assert made_of == ("area under the margin", "last loss")
    assert score.tolist() == [0.125, 0.375, 0.75, 0.75]
    untrained = np.array([4.0, 3, 1, 0])  # O2U-Net never trains on what it takes for wrong
    score, made_of = scores.suspicion(-aum, untrained, None, aum)
    assert made_of == ("area under the margin",)
    assert score.tolist() == [0.125, 0.375, 0.625, 0.875]
    _, made_of = scores.suspicion(-aum, last, aum, aum)
    assert made_of == ("area under the margin", "last loss", "weight")
    _, made_of = scores.suspicion(-aum, last, -aum, aum)
    assert made_of == ("area under the margin", "last loss")


def test_a_weight_that_rises_with_the_loss_is_not_taken_for_trust() -> None:
    loss = np.arange(10.0)
    score, made_of = scores.suspicion(loss, loss, loss * 2)
    assert made_of == ("mean loss",)
    assert score.tolist() == scores.percentiles(loss).tolist()
    score, made_of = scores.suspicion(loss, loss, -loss)
    assert made_of == ("mean loss", "weight")
    assert score.argmax() == 9


def test_samples_that_the_probe_never_saw_are_ranked_by_their_last_loss() -> None:
    curves = np.array([[1.0, 3.0], [np.nan, np.nan], [0.0, 1.0], [np.nan, np.nan]])
    loss = scores.mean_loss(curves)
    assert loss[[0, 2]].tolist() == [2.0, 0.5]
    score, made_of = scores.suspicion(loss, np.array([9.0, 1.0, 9.0, 2.0]), None)
    assert made_of == ("mean loss", "last loss")
    assert score.tolist() == [0.75, 0.25, 0.25, 0.75]
    assert np.isnan(scores.forgetting_events(curves, 3)[1])


def test_suspects_of_synthetic_noise_are_found_and_judged(storage: Path) -> None:
    found = find_suspects(storage, cell_id())
    assert found.wrong is not None
    table = found.table(20)
    for name, values in {"score": found.score, "mean_loss": found.columns["mean_loss"]}.items():
        assert table[name]["auroc"] == pytest.approx(roc_auc_score(found.wrong, values))
    low = found.columns["weight"]
    assert table["weight"]["auroc"] == pytest.approx(roc_auc_score(found.wrong, -low))
    assert table["mean_loss"]["auroc"] is not None
    assert table["mean_loss"]["auroc"] > 0.6  # eight epochs are few
    top = found.order[:20]
    assert table["score"]["precision_at_20"] == pytest.approx(found.wrong[top].mean(), abs=0.1)


def test_cleanlabs_scores_are_cleanlabs_of_the_probes_classifier(storage: Path) -> None:
    rank = pytest.importorskip("cleanlab.rank", reason="the extra [suspects] is not installed")
    from curvetune.analysis.predictions import predicted
    from curvetune.store import CurveStore

    found = find_suspects(storage, cell_id())
    assert found.dataset is not None
    probe_id = found.config.probe_id(data.digest("digits"))
    path = CurveStore(storage).folder(probe_id or "") / "model.safetensors"
    asked = predicted(found.config, found.dataset, found.split, path, None)
    for name in ("self_confidence", "normalized_margin"):
        expected = 1 - rank.get_label_quality_scores(found.split.y, asked, method=name)
        assert np.allclose(found.columns[f"cleanlab_{name}"], expected)


def test_the_other_label_is_never_the_given_one_and_is_the_classifiers(storage: Path) -> None:
    found = find_suspects(storage, cell_id())
    assert found.other is not None
    assert found.probabilities is not None
    assert (found.other != found.split.y).all()
    agrees = found.probabilities.argmax(axis=1) != found.split.y
    assert (found.other[agrees] == found.probabilities.argmax(axis=1)[agrees]).all()


@pytest.mark.parametrize("method", ["cross-entropy", "ldam-drw"])
def test_a_method_without_a_probe_is_ranked_and_says_what_is_missing(
    storage: Path, method: str
) -> None:
    found = find_suspects(storage, cell_id(method))
    assert found.made_of == ("last loss",)
    assert "mean_loss" not in found.columns
    assert any("no curves" in note for note in found.notes)
    assert found.probabilities is not None  # ldam's layer of its own is known
    hits = found.probabilities.argmax(axis=1) == found.split.y
    assert found.columns["last_loss"][hits].mean() < found.columns["last_loss"][~hits].mean()


def test_the_classifier_of_a_method_with_two_networks_is_both_of_them(storage: Path) -> None:
    found = find_suspects(storage, cell_id("elr-plus"))
    assert found.probabilities is not None
    hits = found.probabilities.argmax(axis=1) == found.split.y
    assert found.columns["last_loss"][hits].mean() < found.columns["last_loss"][~hits].mean()


def test_the_command_writes_every_form(storage: Path, tmp_path: Path) -> None:
    base = ["suspects", cell_id()[:8], "--storage", str(storage), "--top", "7"]
    shown = CliRunner().invoke(app, base)
    assert shown.exit_code == 0, shown.output
    assert "against the known noise" in shown.stdout
    as_csv = CliRunner().invoke(app, [*base, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [row["rank"] for row in rows] == [str(k) for k in range(1, 8)]
    assert "against the known noise" in as_csv.stderr
    file = tmp_path / "s.parquet"
    CliRunner().invoke(app, [*base, "--format", "parquet", "--out", str(file)])
    assert [str(i) for i in polars.read_parquet(file)["index"]] == [row["index"] for row in rows]
    content = json.loads(CliRunner().invoke(app, [*base, "--json"]).stdout)
    assert content["schema_version"] == 1
    assert [one["index"] for one in content["suspects"]] == [int(row["index"]) for row in rows]
    assert content["scores"]["score"]["auroc"] is not None


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_cuts_no_number(storage: Path, width: int) -> None:
    found = find_suspects(storage, cell_id())
    console = plain_console(file=io.StringIO(), width=width)
    print_suspects(found, console, 5)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    table, _ = text.split("against the known noise")
    assert max(map(len, table.splitlines()[1:])) <= width
    assert "…" not in table
    for row in suspects_frame(found, 5).iter_rows(named=True):
        assert all(f"{row[name]:.3f}" in table for name in ("score", "weight", "mean_loss"))


def test_the_cleanlab_frame_is_of_every_sample_and_flags_the_lowest_quality(storage: Path) -> None:
    found = find_suspects(storage, cell_id())
    frame = cleanlab_frame(found)
    assert frame["index"].to_list() == found.split.train.tolist()
    assert frame["given_label"].to_list() == found.split.y.tolist()
    issues = frame.filter(polars.col("is_label_issue"))["label_quality"]
    assert len(issues) == round(found.estimate * len(frame)) > 0
    worst = frame["label_quality"].sort().head(len(issues))
    assert sorted(issues) == worst.to_list()


def test_the_page_has_a_thumbnail_each_and_asks_no_network(storage: Path) -> None:
    page = suspects_page(find_suspects(storage, cell_id()), 9)
    assert page.count("data:image/png;base64,") == page.count("<li") == 9
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


@pytest.mark.parametrize("name", ["aum", "mean_loss", "last_loss", "weight", "forgetting_events"])
def test_samples_are_ranked_by_the_score_that_is_asked_for(storage: Path, name: str) -> None:
    found = find_suspects(storage, cell_id(), ask=False, score=name)
    sign = -1 if name in ("aum", "weight") else 1
    assert found.score.tolist() == scores.percentiles(sign * found.columns[name]).tolist()
    assert found.table(5)["score"] == found.table(5)[name]
    base = ["suspects", cell_id(), "--storage", str(storage), "--score", name, "--json"]
    content = json.loads(CliRunner().invoke(app, base).stdout)
    assert content["ranked_by"] == name
    assert content["suspects"][0]["index"] == found.split.train[found.order[0]]


def test_a_score_that_a_cell_has_not_is_refused_with_those_it_has(storage: Path) -> None:
    base = ["suspects", cell_id("cross-entropy"), "--storage", str(storage), "--score"]
    refused = CliRunner().invoke(app, [*base, "aum"])
    assert isinstance(refused.exception, ConfigError)
    assert "allowed are combined, last_loss" in str(refused.exception)


def test_a_score_that_another_one_beats_says_so(storage: Path) -> None:
    found = find_suspects(storage, cell_id(), ask=False, score="forgetting_events")
    table = found.table(1)
    best = max(table, key=lambda name: table[name]["auroc"] or 0)
    (note,) = [note for note in footnotes(found) if "better here" in note]
    assert note.endswith(f"against {table['score']['auroc']:.3f}: --score {best}")
    best_first = find_suspects(storage, cell_id(), ask=False, score=best)
    assert not any("better here" in note for note in footnotes(best_first))


def test_a_probe_of_an_older_version_gives_bounds_and_says_so(
    storage: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(storage, copy)
    probe_id = digits_cell().probe_id(data.digest("digits")) or ""
    store = CurveStore(copy)
    curves, manifest = np.array(store.read(probe_id)), store.manifest(probe_id)
    store.discard(probe_id)
    (store.folder(probe_id) / "margins.npy").unlink()
    store.write(probe_id, curves, {"seconds": manifest["seconds"]})
    found, new = (find_suspects(root, cell_id(), ask=False) for root in (copy, storage))
    assert "aum" not in found.columns
    assert found.made_of == tuple(n for n in ("mean loss", "weight") if n in found.made_of)
    assert any("are bounds from the losses" in note for note in found.notes)
    assert not any("are bounds" in note for note in new.notes)
    assert (found.columns["aum_lower_bound"] <= new.columns["aum"] + 1e-2).all()
    shown = [row[0] for row in score_rows(found, found.table(5))]
    assert "forgetting (bound)" in shown
    assert "forgetting" in [row[0] for row in score_rows(new, new.table(5))]


def test_a_grid_and_method_name_the_cell_or_list_those_it_may_be(storage: Path) -> None:
    assert find_cell(storage, "tiny/cross-entropy") == cell_id("cross-entropy")
    with pytest.raises(ConfigError, match="is 2 cells") as told:
        find_cell(storage, "tiny/curvenet")
    assert cell_id() in str(told.value)
    assert "seed 1 (waiting)" in str(told.value)
    with pytest.raises(ConfigError, match="no method 'nothing'; it has curvenet"):
        find_cell(storage, "tiny/nothing")


def test_a_cell_that_is_not_done_and_other_images_are_refused(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = digits_cell(seed=1).cell_id(data.digest("digits"))
    with pytest.raises(ConfigError, match="has no result yet"):
        find_suspects(storage, waiting)
    from curvetune.data import digits

    done = cell_id()
    monkeypatch.setattr(digits, "digest", lambda data_dir: "0" * 64)
    with pytest.raises(DataError, match="others than those"):
        find_suspects(storage, done)


def test_a_damaged_probe_costs_its_columns_only(storage: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(storage, copy)
    for curves in copy.glob("probes/*/curves.npy"):
        curves.write_bytes(b"damaged")
    found = find_suspects(copy, cell_id())
    assert "mean_loss" not in found.columns
    assert found.made_of[0] == "last loss"
    assert any("no curves" in note for note in found.notes)


def test_files_of_a_folder_are_named_and_their_names_are_no_markup(tmp_path: Path) -> None:
    images, root = tmp_path / "images", tmp_path / "storage"
    write_images(images, ("ant", "<b>bee", "cat"))
    source = data.find_source("folder", image_size=32)
    folder_data = {"name": "folder", "meta_per_class": 2}
    cell = CellConfig.model_validate(
        SHORT
        | {
            "data": folder_data,
            "bias": {"noise": "real"},
            "method": {"name": "cross-entropy"},
        }
    )
    done = run(root, cell, source.digest(images), source.load(images))
    found = find_suspects(root, done, images)
    assert found.wrong is None
    assert found.table(5) == {}
    for row in suspects_frame(found, None).iter_rows(named=True):
        assert (images / row["file"]).is_file()
        assert row["file"].startswith(f"train/{row['given_name']}/")
    page = suspects_page(found, 30)
    assert "<b>bee" not in page
    assert "&lt;b&gt;bee" in page
    unseen = find_suspects(root, done)  # the folder is not at hand
    assert unseen.probabilities is None
    assert suspects_frame(unseen, 3)["other_label"].to_list() == [None] * 3
    with pytest.raises(ConfigError, match="--data-dir"):
        cleanlab_frame(unseen)
