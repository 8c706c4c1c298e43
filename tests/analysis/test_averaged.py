"""Suspects over several seeds, against means that are counted sample by sample."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_grid import GRID, train_grid
from typer.testing import CliRunner

from curvetune import Results, data
from curvetune.analysis.averaged import suspects_of
from curvetune.analysis.suspects import Suspects, find_suspects
from curvetune.cli import app
from curvetune.errors import ConfigError

NOISY = ("noise_rate=0.4",)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeds")
    train_grid(root, methods=({"name": "cross-entropy"},), seeds=(0, 1, 2))
    return root


def run(*args: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def of_seeds(storage: Path) -> list[Suspects]:
    cells = Results(storage).cells(f"{GRID}/cross-entropy")
    noisy = cells.filter(cells["noise_rate"] == 0.4)
    return [find_suspects(storage, cell) for cell in noisy["cell_id"]]


def test_each_value_is_the_mean_over_the_cells_with_the_sample_under_that_label(
    storage: Path,
) -> None:
    found = suspects_of(storage, f"{GRID}/cross-entropy", where=NOISY)
    losses: dict[tuple[int, int], list[float]] = {}
    said: dict[tuple[int, int], list[np.ndarray]] = {}
    for one in of_seeds(storage):
        assert one.probabilities is not None
        for k, pair in enumerate(zip(one.split.train.tolist(), one.split.y.tolist(), strict=True)):
            losses.setdefault(pair, []).append(float(one.columns["last_loss"][k]))
            said.setdefault(pair, []).append(one.probabilities[k])
    pairs = list(zip(found.split.train.tolist(), found.split.y.tolist(), strict=True))
    assert sorted(losses) == sorted(pairs)
    assert len(pairs) > 120  # each seed makes other labels wrong
    assert found.counts is not None
    assert found.counts.tolist() == [len(losses[pair]) for pair in pairs]
    assert {1, 2} <= set(found.counts.tolist())
    wanted = [np.mean(losses[pair]) for pair in pairs]
    assert np.allclose(found.columns["last_loss"], wanted)
    assert found.probabilities is not None
    assert np.allclose(found.probabilities, [np.mean(said[pair], axis=0) for pair in pairs])
    truth = data.load("digits").train.y
    assert found.split.y_true.tolist() == truth[found.split.train].tolist()
    # a sample under two labels is no picture that the data has twice
    assert found.in_conflict.sum() == 0


def test_the_mean_is_said_in_the_head_and_in_every_row(storage: Path) -> None:
    args = ("suspects", f"{GRID}/cross-entropy", "--storage", storage, "--where", *NOISY)
    text = run(*args, "--top", 3)
    assert "mean of 3 cells of cross-entropy (seeds 0, 1, 2)" in text
    assert "the column cells" in " ".join(text.split())
    rows = list(csv.DictReader(io.StringIO(run(*args, "--format", "csv"))))
    assert {row["cells"] for row in rows} <= {"1", "2", "3"}
    listed = json.loads(run(*args, "--json"))
    assert listed["cell_id"] is None
    assert len(listed["cells"]) == 3


def test_one_seed_alone_is_that_cell(storage: Path) -> None:
    (one,) = of_seeds(storage)[:1]
    alone = suspects_of(storage, f"{GRID}/cross-entropy", where=(*NOISY, "seed=0"))
    assert alone.cell_id == one.cell_id
    assert alone.mean_of == ()
    assert alone.score.tolist() == one.score.tolist()


def test_several_settings_are_listed_with_what_chooses_one(storage: Path) -> None:
    with pytest.raises(ConfigError, match="2 settings; choose one") as told:
        suspects_of(storage, f"{GRID}/cross-entropy")
    assert "--where noise_rate=0.0" in str(told.value)
    assert "--where noise_rate=0.4" in str(told.value)
    for condition, why in (
        ("noise_rat=0.4", "did you mean"),
        ("noise_rate=0.7", "no cell of"),
        ("epochs=3", "may be probe.epochs, allocate.epochs"),
        ("seed", "allowed is KEY=VALUE"),
    ):
        with pytest.raises(ConfigError, match=why):
            suspects_of(storage, f"{GRID}/cross-entropy", where=(condition,))
    with pytest.raises(ConfigError, match="leave it out"):
        suspects_of(storage, of_seeds(storage)[0].cell_id, where=NOISY)


def test_by_names_the_score_and_an_unknown_one_is_refused_with_the_list(storage: Path) -> None:
    cell = of_seeds(storage)[0].cell_id
    args = ("suspects", cell, "--storage", storage, "--format", "csv")
    assert run(*args, "--by", "last_loss") == run(*args, "--score", "last_loss")
    with pytest.raises(ConfigError, match=r"no such score.*allowed are combined, last_loss"):
        suspects_of(storage, cell, score="lats")
