"""Cells about the labels that people gave: what they are trained on, and what is known of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from human_files import KEYS, columns10, write_pt
from pydantic import ValidationError
from storage_fixtures import finish, write_grid
from tiny_cifar import encoded, images, write_parquet

from curvetune import data
from curvetune.analysis.suspects import find_suspects
from curvetune.cell import run_cell
from curvetune.config import HUMAN, BiasConfig, CellConfig, ModelConfig
from curvetune.data.own.look_alikes import CLASSES
from curvetune.data.people.cells import with_labels
from curvetune.data.people.labels import labels_digest
from curvetune.errors import ConfigError, DataError
from curvetune.grids.cells import read_grid
from curvetune.grids.labels import in_common, setting_parts
from curvetune.places import Places
from curvetune.planning.selection import parse_selection
from curvetune.report.published.table import published_document
from curvetune.report.tables.main import report_document
from curvetune.run import make_plan
from curvetune.store import CellStore
from curvetune.store.relabels import relabel_content, relabel_digest, write_relabel
from curvetune.training.split import load_split, made_split

N, TEST = 120, 20
CLEAN = np.arange(N, dtype=np.int64) % 10
SOURCE = data.find_source("cifar10")


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CURVETUNE_HUMAN_LABELS", raising=False)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with CIFAR-10 of 120 random images, and people's labels beside it."""
    root = tmp_path_factory.mktemp("cifar")
    parts = {"train": (images(N, 0), CLEAN), "test": (images(TEST, 1), np.arange(TEST) % 10)}
    for part, (pixels, y) in parts.items():
        contents = [encoded(one, "PNG") for one in pixels]
        names = sorted(CLASSES["cifar10"])
        write_parquet(root / f"{part}-0.parquet", contents, y.tolist(), names=names)
    write_pt(root, columns10(CLEAN))
    return root


def cell(noise: str = "human-worse", imbalance: float = 1, **method: object) -> CellConfig:
    return CellConfig.model_validate(
        {
            "data": {"name": "cifar10", "meta_per_class": 2},
            "bias": {"noise": noise, "imbalance": imbalance},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 2, "milestones": [], "warmup": 0, "batch_size": 20},
            "method": {"name": "cross-entropy"} | method,
        }
    )


def planned(folder: Path, one: CellConfig) -> CellConfig:
    (found,) = with_labels([one], SOURCE, folder)
    return found


def test_given_labels_are_peoples_and_hidden_ones_the_datas(cifar: Path, tmp_path: Path) -> None:
    dataset, digest = SOURCE.load(cifar), SOURCE.digest(cifar)
    given = columns10(CLEAN)["worse_label"]
    for imbalance in (1, 5):
        split = made_split(planned(cifar, cell(imbalance=imbalance)), digest, dataset, tmp_path)
        assert np.array_equal(split.y, given[split.train])
        assert np.array_equal(split.y_true, CLEAN[split.train])
        sizes = np.bincount(split.y_true, minlength=10)
        assert sizes.max() == 10
        assert sizes.min() == 10 // imbalance  # the long tail is of the true classes
        assert not set(split.meta) & set(split.train)


def test_the_labels_enter_the_address_of_these_kinds_only(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {kind: planned(cifar, cell(kind)).cell_id("d") for kind in HUMAN - {"human-fine"}}
    assert len(set(ids.values())) == 5
    columns = columns10(CLEAN)
    columns["worse_label"] = (columns["worse_label"] + 1) % 10
    write_pt(tmp_path, columns)
    monkeypatch.setenv("CURVETUNE_HUMAN_LABELS", str(tmp_path))  # a file with other labels
    others = {kind: planned(cifar, cell(kind)).cell_id("d") for kind in ids}
    assert {kind for kind in ids if ids[kind] != others[kind]} == {"human-worse"}
    plain = cell("flip2")
    assert planned(cifar, plain) == plain
    assert "labels_digest" not in plain.split_identity("d")["bias"]


def test_nothing_is_read_where_no_cell_asks(tmp_path: Path) -> None:
    plain = cell("symmetric")
    assert with_labels([plain], SOURCE, tmp_path / "nowhere") == (plain,)


def test_a_plan_says_what_is_missing_before_anything_starts(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"meta_per_class": "2", "noise": "human-worse"}
    texts = [f"{key}={value}" for key, value in limits.items()]
    selection = parse_selection("cifar10n", "cross-entropy", "0", "smoke", texts)
    plan = make_plan(selection, Places(cifar, tmp_path), lambda _: None)
    assert [one.config.bias.labels_digest for one in plan.cells] == [
        labels_digest(columns10(CLEAN)["worse_label"])
    ]
    monkeypatch.setenv("CURVETUNE_HUMAN_LABELS", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt is not there"):
        make_plan(selection, Places(cifar, tmp_path), lambda _: None)
    with pytest.raises(ConfigError, match="the file with these labels was not read"):
        cell().cell_id("d")


def test_a_split_is_never_made_of_other_labels_than_were_planned(
    cifar: Path, tmp_path: Path
) -> None:
    dataset = SOURCE.load(cifar)
    one = planned(cifar, cell())
    other = one.model_copy(
        update={"bias": one.bias.model_copy(update={"labels_digest": "0123456789abcdef"})}
    )
    with pytest.raises(DataError, match="digest 0123456789abcdef, and those beside the images"):
        load_split(other, "d", dataset, tmp_path)


def test_a_method_is_told_the_share_that_is_wrong(cifar: Path, tmp_path: Path) -> None:
    dataset, digest = SOURCE.load(cifar), SOURCE.digest(cifar)
    one = planned(cifar, cell(name="co-teaching"))
    done = run_cell(one, digest, dataset, tmp_path, device=torch.device("cpu"))
    split = made_split(one, digest, dataset, tmp_path)
    assert 0.2 < split.wrong.mean() < 0.6
    assert done["noise_rate_used"] == done["wrong_share"] == split.wrong.mean()
    write_grid(tmp_path, [one])
    found = find_suspects(tmp_path, done["cell_id"], cifar, ask=False)
    assert found.wrong is not None
    assert np.array_equal(found.wrong, split.wrong)
    assert found.table(10)["score"]["auroc"] is not None


def test_corrected_labels_leave_the_truth_as_it_is(cifar: Path, tmp_path: Path) -> None:
    dataset, digest = SOURCE.load(cifar), SOURCE.digest(cifar)
    one = planned(cifar, cell())
    split = made_split(one, digest, dataset, tmp_path)
    position = int(np.flatnonzero(split.wrong)[0])
    index, mistaken = int(split.train[position]), int((split.y[position] + 5) % 10)
    content = relabel_content({index: mistaken}, dataset.class_names, digest)
    write_relabel(tmp_path, content)
    new = one.model_copy(
        update={"data": one.data.model_copy(update={"relabel": relabel_digest(content)})}
    )
    corrected = made_split(new, digest, dataset, tmp_path)
    assert corrected.y[position] == mistaken
    assert np.array_equal(corrected.y_true, split.y_true)
    assert (corrected.y != split.y).sum() == 1


def test_the_kinds_have_no_rate_and_are_of_one_source() -> None:
    for kind in HUMAN:
        bias = BiasConfig(noise=kind)  # type: ignore[arg-type]
        assert bias.is_human
        assert bias.truth_is_known
        assert bias.adds_noise
        with pytest.raises(ValidationError, match=r"noise_rate=0\.2 means nothing"):
            BiasConfig(noise=kind, noise_rate=0.2)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"human-fine is of data\.name=cifar100"):
        cell("human-fine")
    with pytest.raises(ValidationError, match="reads no labels"):
        BiasConfig(noise="flip", noise_rate=0.2, labels_digest="0123456789abcdef")
    assert len(KEYS) == len(HUMAN) - 1


def test_a_report_names_the_kind_the_share_and_what_is_published(
    cifar: Path, tmp_path: Path
) -> None:
    one = planned(cifar, cell())
    write_grid(tmp_path, [one])
    finish(tmp_path, one, 80.0, wrong_share=0.4021)
    grid = read_grid(tmp_path, "small")
    (setting,) = grid.settings
    assert setting_parts(setting, [setting]) == ("imbalance 1", "noise human-worse")
    assert "human-worse noise" in in_common([setting])
    assert grid.cells[0].noise_rate == 0.4021
    notes = report_document(tmp_path, grid).notes
    assert "human-worse, imbalance 1: 40.2 % of people's labels are wrong" in notes
    found = published_document(grid, "last")
    assert {row["difference"] for row in found.records} == {None}
    assert {row.get("compared") for row in found.records if row["published"]} == {False}
    theirs = {row["table"]: row for row in found.records if row.get("row") == "CE"}
    own, same = theirs["CIFAR-N, own classifiers"], theirs["CIFAR-N, one classifier"]
    assert (own["published"], own["published_std"], own["ours"]) == (83.91, 0.08, 80.0)
    assert (same["published"], same["model"]) == (75.48, "torchvision/resnet34")
    first, second = found.sheets[1:]
    assert "of another classifier, so not compared" in first.title
    assert first.header[1:] == (
        ("CIFAR-10N worst", "theirs"),
        ("CIFAR-10N worst", "ours, resnet8"),
    )
    assert ("CE", "83.91 ± 0.08", "80.00") in first.rows
    assert ("SOP+", "92.89 ± 0.09", "–") in first.rows
    assert ("ProMix", "88.99 ± 0.14", "–") in second.rows
    (note,) = [note for note in found.notes if "own classifiers" in note]
    assert "the best epoch on the test set" in note
    assert not any("CIFAR-100N" in str(sheet.header) for sheet in found.sheets)


def test_a_grid_of_the_same_classifier_is_compared_with_what_is_published_of_it(
    cifar: Path, tmp_path: Path
) -> None:
    one = planned(cifar, cell()).model_copy(
        update={"model": ModelConfig(name="torchvision/resnet34")}
    )
    write_grid(tmp_path, [one])
    finish(tmp_path, one, 80.0, wrong_share=0.4021)
    found = published_document(read_grid(tmp_path, "small"), "last")
    (row,) = [row for row in found.records if row["compared"]]
    assert (row["published"], row["row"], row["table"]) == (75.48, "CE", "CIFAR-N, one classifier")
    assert row["difference"] == pytest.approx(80 - 75.48)
    assert any("best on the other 5 %" in note for note in found.notes)
    assert [sheet.title for sheet in found.sheets if "own classifiers" in sheet.title]


def test_clean_cells_are_not_taken_for_peoples(cifar: Path, tmp_path: Path) -> None:
    clean = cell("uniform_prop")
    write_grid(tmp_path, [clean])
    finish(tmp_path, clean, 80.0)
    found = published_document(read_grid(tmp_path, "small"), "last")
    assert not any("CIFAR-10N" in note for note in found.notes)
    assert CellStore(tmp_path).result(clean.cell_id("d" * 64)) is not None
