"""The learning curves of methods over each other show means and spreads over seeds."""

from pathlib import Path
from statistics import stdev

import pytest
from storage_fixtures import EPOCHS, add_epochs, finish, make_cells, write_grid

from curvetune.errors import CorruptError
from curvetune.grids.cells import read_grid
from curvetune.report.colours import colour_of
from curvetune.report.figures.overlay import band, bands_said, draw_learning, histories
from curvetune.report.figures.style import file_of, new_axes
from curvetune.store import CellStore


def history(*accuracies: float | None) -> list[dict[str, float | None]]:
    return [{"epoch": k, "accuracy": value} for k, value in enumerate(accuracies)]


def test_a_band_is_mean_and_sample_spread_over_the_epochs_that_all_seeds_have() -> None:
    seeds = [history(50, 60, 70), history(54, None, 76), history(52, 66)]
    assert band(seeds, "accuracy") == [(0, 52, pytest.approx(stdev([50, 54, 52])))]
    assert band(seeds[:1], "accuracy") == [(0, 50, None), (1, 60, None), (2, 70, None)]
    assert band([], "accuracy") == []


def test_methods_lie_over_each_other_each_in_its_own_colour() -> None:
    figure, axes = new_axes()
    methods = {"curvenet": [history(50, 70), history(60, 74)], "focal": [history(40, 60)]}
    draw_learning(axes, methods, labels=["cross-entropy", "curvenet", "focal"])
    assert [line.get_ydata().tolist() for line in axes.lines] == [[55, 72], [40, 60]]
    assert [line.get_color() for line in axes.lines] == [colour_of("curvenet"), colour_of("focal")]
    assert len({line.get_linestyle() for line in axes.lines}) == 2
    edge = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (edge.min(), edge.max()) == pytest.approx((55 - stdev([50, 60]), 72 + stdev([70, 74])))
    assert file_of(figure, "png")


def test_a_tenth_of_a_point_is_no_cliff() -> None:
    _, axes = new_axes()
    draw_learning(axes, {"focal": [history(90.0, 90.1)], "curvenet": [history(90.1, 90.2)]})
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(5)
    assert low < 90 < 90.2 < high


def test_an_axis_of_percents_does_not_go_above_100_to_be_calm() -> None:
    _, axes = new_axes()
    draw_learning(axes, {"focal": [history(99.8, 99.9)]})
    assert axes.get_ylim()[1] <= 100.01


def test_the_histories_of_a_setting_are_those_of_its_done_cells(tmp_path: Path) -> None:
    cells = make_cells(imbalances=[1], noise_rates=[0.4], seeds=[0, 1])
    for cell in cells[:3]:
        finish(tmp_path, cell, 70.0)
    add_epochs(tmp_path, cells[3], 2)  # still running
    write_grid(tmp_path, cells)
    grid = read_grid(tmp_path, "small")
    found = histories(tmp_path, grid, grid.settings[0])
    assert {label: len(seeds) for label, seeds in found.items()} == {
        "cross-entropy": 2,
        "curvenet": 1,
    }
    assert all(len(rows) == EPOCHS for seeds in found.values() for rows in seeds)
    damaged = CellStore(tmp_path).folder(grid.cells[0].cell_id) / "history.jsonl"
    damaged.write_bytes(b"{\n")
    with pytest.raises(CorruptError, match=grid.cells[0].cell_id):
        histories(tmp_path, grid, grid.settings[0])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 1], "one seed, so there is no band"),
        ([3, 3], "mean ± sd over 3 seeds"),
        ([1, 3], "mean ± sd over 1 to 3 seeds"),
    ],
)
def test_it_is_said_what_a_band_is(numbers: list[int], words: str) -> None:
    assert bands_said(numbers) == words
