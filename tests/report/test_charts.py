"""Charts as geometry: values stand where they should, and nothing that matters is left out."""

import math
import random
import re
from itertools import pairwise

import pytest

from curvetune.report.charts.axis import Scale, nice, span
from curvetune.report.charts.forest import Forest, ForestRow, draw_forest
from curvetune.report.charts.heat import Heat, draw_heat
from curvetune.report.charts.plot import Look, Plot, Series, draw_plot, thinned

LOOK = Look("#0072b2")
POINT = re.compile(r"([ML])([-\d.]+) ([-\d.]+)")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (62.3, 88.4), (-0.004, 0.009), (1e5, 3e7)])
def test_an_axis_has_round_labels_within_its_ends(low: float, high: float) -> None:
    values = nice(low, high)
    assert 3 <= len(values) <= 11
    assert all(low - 1e-9 * abs(high) <= value <= high * (1 + 1e-9) for value in values)
    steps = {round((b - a) / (values[1] - values[0]), 6) for a, b in pairwise(values)}
    assert steps == {1.0}
    assert f"{values[1] - values[0]:.1e}"[:3] in {"1.0", "2.0", "2.5", "5.0"}


def test_noise_is_no_cliff() -> None:
    low, high = span([71.00, 71.02], at_least=2.0)
    assert high - low >= 2.0
    assert low < 71.00 < 71.02 < high


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    axis = Scale(1, 1000, 0, 300, log=True)
    assert [axis.at(v) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]
    assert {"1", "10", "100"} <= {tick.text for tick in axis.ticks()}


def test_a_line_goes_through_its_points() -> None:
    line = [(k, 10.0 * k) for k in range(5)]
    drawing = draw_plot(Plot("epoch", "accuracy", [Series("a", LOOK, line=line)], whole=True))
    ((path, _, name),) = drawing.lines
    places = [(float(x), float(y)) for _, x, y in POINT.findall(path)]
    assert name == "a"
    assert len(places) == 5
    left, top, right, bottom = drawing.box
    assert (places[0][0], places[-1][0]) == (left, right)
    assert all(top <= y <= bottom for _, y in places)
    steps = {round(b - a, 0) for (_, a), (_, b) in pairwise(places)}
    assert len(steps) == 1  # the values are on a straight line
    assert steps.pop() < 0  # and more is higher up
    assert all(float(text).is_integer() for _, (text,) in drawing.x_ticks)


def test_a_value_that_is_not_finite_breaks_the_line_and_is_marked() -> None:
    line = [(0, 1.0), (1, 0.9), (2, math.nan), (3, 0.8), (4, math.inf), (5, 0.7), (6, 0.6)]
    drawing = draw_plot(Plot("epoch", "loss", [Series("loss", LOOK, line=line)]))
    ((path, _, _),) = drawing.lines
    assert [letter for letter, _, _ in POINT.findall(path)] == ["M", "L", "M", "M", "L"]
    assert [words for _, words in drawing.faults] == ["loss: nan at 2", "loss: inf at 4"]


@pytest.mark.parametrize("place", [0, 7_777, 19_999])
@pytest.mark.parametrize("value", [812.0, -5.0, math.nan])
def test_of_20_000_points_no_single_spike_is_left_out(place: int, value: float) -> None:
    draw = random.Random(0)
    line = [(float(k), draw.random()) for k in range(20_000)]
    line[place] = (float(place), value)
    kept = thinned(line)
    assert len(kept) < 1_000
    assert any(x == place and (y == value or math.isnan(value) == math.isnan(y)) for x, y in kept)
    assert [x for x, _ in kept] == sorted({x for x, _ in kept})


def test_a_band_lies_around_its_line() -> None:
    line = [(0.0, 50.0), (1.0, 60.0)]
    series = Series("a", LOOK, line=line, band=[(0.0, 45.0, 55.0), (1.0, 58.0, 62.0)])
    drawing = draw_plot(Plot("epoch", "accuracy", [series]))
    ((area, colour),) = drawing.areas
    ys = [float(y) for _, _, y in POINT.findall(area)]
    (_, first), (_, last) = ((float(x), float(y)) for _, x, y in POINT.findall(drawing.lines[0][0]))
    assert colour == LOOK.colour
    assert ys[0] < first < ys[3]
    assert ys[1] < last < ys[2]


def test_more_categories_make_a_wider_picture_and_no_smaller_letters() -> None:
    few, many = (
        draw_plot(
            Plot("class", "weight", [Series("a", LOOK, marks=[(0, 1)])], categories=["cat"] * n)
        )
        for n in (5, 50)
    )
    assert few.width == 360
    assert many.width > 1300
    assert len(many.x_ticks) == 50


def test_a_heat_map_shades_what_is_higher_more_and_tells_worse_from_better() -> None:
    def drawn(*, signed: bool) -> list[tuple[float, bool, str]]:
        heat = Heat(
            *("t", "imbalance", "noise", ["1"], ["0", "0.2", "0.4"]),
            values=[[-4.0, None, 8.0]],
            texts=[["-4.0", "–", "+8.0"]],
            low=-4.0,
            high=8.0,
            signed=signed,
        )
        return [(one.share, one.worse, one.text) for one in draw_heat(heat).squares]

    low, unknown, high = drawn(signed=True)
    assert (low[1], unknown[1], high[1]) == (True, False, False)
    assert unknown[0] == 0 < low[0] == pytest.approx(high[0] / 2, abs=1e-3)
    assert [share for share, _, _ in drawn(signed=False)] == [0, 0, high[0]]


def test_a_large_heat_map_has_no_numbers_and_few_names() -> None:
    names = [f"class {k}" for k in range(100)]
    values = [[0.5] * 100 for _ in names]
    drawing = draw_heat(Heat("t", "r", "c", names, names, values, [[""] * 100] * 100, 0, 1))
    assert drawing.width < 600
    assert 10 < len(drawing.rows) < 50


def test_a_forest_shows_intervals_around_values_and_its_zero_between_signs() -> None:
    rows = [
        ForestRow("a", 4.0, (1.0, 7.0), "+4", LOOK),
        ForestRow("b", -2.0, None, "-2", LOOK),
        ForestRow("c", None, None, "–", LOOK),
    ]
    drawing = draw_forest(Forest("points", rows, zero=True))
    (_, _, a, ends), (_, _, b, none), (_, _, c, _) = drawing.rows
    assert a is not None
    assert b is not None
    assert ends is not None
    assert drawing.zero is not None
    assert b < drawing.zero < ends[0] < a < ends[1] < drawing.width
    assert (none, c) == (None, None)
