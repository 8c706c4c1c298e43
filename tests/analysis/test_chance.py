"""Which accuracies are marked as no better than chance; the reference are exact fractions."""

from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
from storage_fixtures import DIGEST, finish, make_cells, write_grid

from curvetune.analysis.aggregate import grid_json
from curvetune.analysis.chance import level
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import ma_sheet, render, settings_sheet
from curvetune.store.facts import write_facts


def exactly(images: int, share: Fraction) -> int:
    """Return the fewest right answers up to which the probability is at least 97.5 %."""
    total = Fraction(0)
    for right in range(images + 1):
        total += comb(images, right) * share**right * (1 - share) ** (images - right)
        if total >= Fraction(975, 1000):
            return right
    raise AssertionError


@pytest.mark.parametrize("images", [1, 7, 60, 360])
@pytest.mark.parametrize("share", [Fraction(1, 2), Fraction(1, 10), Fraction(3, 4)])
def test_the_level_is_the_upper_end_of_the_binomial_interval(images: int, share: Fraction) -> None:
    assert level(images, float(share)) == pytest.approx(100 * exactly(images, share) / images)


def test_guesses_are_at_chance_in_about_975_of_1000_draws() -> None:
    right = np.random.default_rng(0).binomial(500, 0.1, size=20_000)
    assert 0.97 < np.mean(100 * right / 500 <= level(500, 0.1)) < 0.99


def test_one_class_alone_is_always_at_chance() -> None:
    assert level(50, 1.0) == 100


def stored(root: Path, test: list[int], *accuracies: float) -> None:
    write_facts(root, DIGEST, {"class_sizes": {"train": [5] * len(test), "test": test}})
    cells = make_cells(
        [{"name": "cross-entropy"}, {"name": "gce"}], imbalances=[1], noise_rates=[0.4], seeds=[0]
    )
    write_grid(root, cells)
    for cell, accuracy in zip(cells, accuracies, strict=True):
        finish(root, cell, accuracy)


def marks(root: Path) -> dict[str, bool]:
    grid = read_grid(root, "small")
    sheets = ma_sheet(grid), settings_sheet(grid)
    found = [{row[0]: "†" in row[1] for row in sheet.rows} for sheet in sheets]
    assert found[0] == found[1]
    return found[0]


def test_a_method_that_guesses_is_marked_and_the_note_says_from_what(tmp_path: Path) -> None:
    stored(tmp_path, [50, 50], 59.0, 61.0)  # of 100 images up to 60 are guessed
    assert marks(tmp_path) == {"cross-entropy": True, "gce": False}
    text = render(tmp_path, "small", "markdown")
    assert "at most 60.0 %, from one in 2 classes, on 100 test images" in text
    found = grid_json(read_grid(tmp_path, "small"))["methods"]
    assert [one["settings"][0]["at_chance"] for one in found] == [True, False]


def test_of_unequal_classes_the_largest_share_is_what_a_guess_comes_to(tmp_path: Path) -> None:
    stored(tmp_path, [80, 20], 80.0, 95.0)
    assert marks(tmp_path) == {"cross-entropy": True, "gce": False}
    assert "from the largest class of 2 classes (80.0 % of them)" in render(
        tmp_path, "small", "markdown"
    )


def test_nothing_is_marked_where_all_is_better_or_nobody_counted(tmp_path: Path) -> None:
    stored(tmp_path / "a", [50, 50], 90.0, 91.0)
    assert not any(marks(tmp_path / "a").values())
    assert "†" not in render(tmp_path / "a", "small", "markdown")
    stored(tmp_path / "b", [50, 50], 10.0, 11.0)
    (tmp_path / "b" / "data" / f"{DIGEST}.json").unlink()
    assert not any(marks(tmp_path / "b").values())
    grid = grid_json(read_grid(tmp_path / "b", "small"))
    assert grid["methods"][0]["settings"][0]["at_chance"] is None


def test_latex_has_the_mark_as_a_command(tmp_path: Path) -> None:
    stored(tmp_path, [50, 50], 50.0, 61.0)
    table = render(tmp_path, "small", "latex").partition(r"\begin{table}")[2]
    assert r"$^\dagger$" in table
    assert "†" not in table
