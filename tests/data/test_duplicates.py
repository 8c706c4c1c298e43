"""What is there more than once is counted and said, and a picture with two labels comes first."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folder import encoded, picture, write_images
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune import data
from curvetune.analysis.suspects import find_suspects
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.data.duplicates import Copies, Sample, copies_of, in_conflict, words
from curvetune.grids.cells import read_grid
from curvetune.grids.copies import copies_in
from curvetune.report.pages.grid import page
from curvetune.report.suspects import footnotes, suspects_frame
from curvetune.store.facts import facts_file, write_facts
from curvetune.tracking.sync.runs import grid_data


def sample(name: str, content: str, label: str = "ant", file_sum: str = "") -> Sample:
    return Sample(name, name.startswith("test"), label, content, file_sum or name)


def counted_by_hand(samples: list[Sample]) -> tuple[int, int, int, int]:
    """Return (test images in train, of the same bytes, further copies, pictures of two labels)."""
    train = [one for one in samples if not one.is_test]
    test = [one for one in samples if one.is_test]
    return (
        sum(any(a.content == b.content for b in train) for a in test),
        sum(any(a.file_sum == b.file_sum for b in train) for a in test),
        sum(any(a.content == b.content for b in train[:k]) for k, a in enumerate(train)),
        len({a.content for a in samples for b in samples if a.content == b.content != ""
             and a.label != b.label}),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_comparing_each_image_with_each_other(seed: int) -> None:
    draw = np.random.default_rng(seed)
    samples = []
    for k in range(60):
        content = int(draw.integers(0, 50))
        again = draw.random() < 0.5  # the same file, or the same picture in another file
        samples.append(
            Sample(
                f"{'test' if k % 4 == 0 else 'train'} {k}",
                k % 4 == 0,
                str(draw.integers(0, 3)),
                str(content),
                f"file {content}" if again else f"file of its own {k}",
            )
        )
    found = copies_of(samples)
    counts = (found.in_train, found.same_bytes, found.repeated, len(found.two_labels))
    assert counts == counted_by_hand(samples)
    assert found.test == 15


def test_nothing_is_said_of_data_without_copies() -> None:
    assert words(copies_of([sample("train/a", "1"), sample("test/b", "2")])) == []


def test_words_name_the_images_and_escape_what_is_in_a_name() -> None:
    found = copies_of(
        [
            sample("train/a\x1b[31m", "1"),
            sample("train/b", "1", "b\udcea"),
            sample("test/c", "1"),
            sample("test/d", "2"),
        ]
    )
    overlap, repeated, labels = words(found)
    assert overlap.startswith("1 of 2 test images are training images too, so accuracies are")
    assert repeated == "1 training image is a further copy of another one"
    assert labels.startswith("1 picture has more than one label: train/a")
    assert "\x1b" not in "".join(words(found))
    json.dumps(found.to_json(), ensure_ascii=False).encode()
    assert Copies.from_json(found.to_json()).in_train == 1


@pytest.mark.parametrize("content", [{}, {"test_images": "many"}, {"two_labels": [[1]]}])
def test_facts_that_are_none_are_not_believed(tmp_path: Path, content: dict[str, Any]) -> None:
    write_facts(tmp_path, DIGEST, content)
    assert copies_in(tmp_path, DIGEST) is None
    assert copies_in(tmp_path, "../../etc/passwd") is None
    with pytest.raises(ValueError, match="a digest is"):
        facts_file(tmp_path, "../x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a test image of the same bytes, one of the same picture, and two labels."""
    root = tmp_path / "images"
    write_images(root)
    shutil.copy(root / "train/ant/0.png", root / "test/ant/copy.png")
    again = encoded(picture(1, 32, 32), "WEBP", lossless=True)  # train/ant/1.png
    (root / "test/ant/again.webp").write_bytes(again)
    shutil.copy(root / "train/bee/2.png", root / "train/cat/bee.png")
    return root


def test_plan_tells_it_in_words_and_as_json(folder: Path, tmp_path: Path) -> None:
    common = ["plan", "folder", "--data-dir", str(folder), "--storage", str(tmp_path / "s")]
    result = CliRunner().invoke(app, [*common, "--json", "--profile", "smoke"])
    assert result.exit_code == 0, result.output
    assert "2 of 10 test images are training images too (same file 1, same picture 1)" in (
        result.stderr
    )
    assert "train/bee/2.png (bee), train/cat/bee.png (cat)" in result.stderr
    told = json.loads(result.stdout)["images"]["copies"]
    assert (told["test_images_in_train"], told["of_the_same_bytes"]) == (2, 1)
    assert told["two_labels"] == [
        [
            {"image": "train/bee/2.png", "label": "bee"},
            {"image": "train/cat/bee.png", "label": "cat"},
        ]
    ]


def test_a_picture_with_two_labels_ranks_first_in_suspects(folder: Path, tmp_path: Path) -> None:
    source = data.find_source("folder")
    config = CellConfig.model_validate(
        {
            "data": {"name": "folder", "meta_per_class": 1},
            "bias": {"noise": "real"},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 2, "warmup": 0, "milestones": [1], "batch_size": 8},
        }
    )
    digest, dataset = source.digest(folder), source.load(folder)
    run_cell(config, digest, dataset, tmp_path / "s", device=torch.device("cpu"))
    found = find_suspects(tmp_path / "s", config.cell_id(digest), folder)
    frame = suspects_frame(found, None)
    conflicts = frame.filter(frame["two_labels"])
    assert conflicts["rank"].to_list() == list(range(1, len(conflicts) + 1))
    assert set(conflicts["file"]) <= {"train/bee/2.png", "train/cat/bee.png"}
    assert len(conflicts) in (0, 2)  # 0 if the meta set took one of the two
    rest = frame.filter(~frame["two_labels"])["score"].to_list()
    assert rest == sorted(rest, reverse=True)
    assert any("one picture each under two given labels" in n for n in footnotes(found))


def test_without_copies_the_order_is_that_of_the_scores_alone() -> None:
    x = np.random.default_rng(0).integers(256, size=(20, 3, 4, 4), dtype=np.uint8)
    y = np.arange(20) % 3
    assert not in_conflict(x, y).any()
    x[7] = x[3]
    assert np.flatnonzero(in_conflict(x, y)).tolist() == [3, 7]
    y[7] = y[3]
    assert not in_conflict(x, y).any()  # a copy with the same label is none


def test_the_page_and_mlflow_say_it(tmp_path: Path) -> None:
    cells = make_cells(imbalances=(1,), noise_rates=(0.0,), seeds=(0,))
    write_grid(tmp_path, cells)
    for cell in cells:
        finish(tmp_path, cell, 80.0)
    assert "copies in it" not in page(tmp_path, "small")
    found = copies_of([sample("train/<b>", "1"), sample("test/c", "1")])
    write_facts(tmp_path, DIGEST, found.to_json())
    text = page(tmp_path, "small")
    assert "1 of 1 test images are training images too" in text
    assert "train/&lt;b&gt;" in text
    profile = grid_data(read_grid(tmp_path, "small"), copies_in(tmp_path, DIGEST)).profile
    assert profile["copies"] == words(found)
