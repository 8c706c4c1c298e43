"""What a figure shows of numbers that are given to it."""

from typing import Any

import numpy as np
import pytest

from curvetune.data.splits import Split
from curvetune.report.figures import (
    file_of,
    grids,
    samples,
    training,
)


def split(y: list[int], y_true: list[int]) -> Split:
    none = np.zeros(0, np.int64)
    return Split(none, np.arange(len(y)), np.array(y), np.array(y_true), none)


# -- what a figure shows ---------------------------------------------------------------------------


def test_the_curves_are_the_means_of_right_and_wrong_labels_of_the_largest_and_smallest_class() -> (
    None
):
    labels = split([0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 1])  # class 0 has 4 images, class 1 has 2
    curves = np.arange(18, dtype=float).reshape(6, 3)
    figure = samples.loss_curves(curves, labels)
    left, right = figure.axes
    drawn = [line.get_ydata().tolist() for line in left.lines]
    assert drawn == [curves[[0, 1, 2]].mean(0).tolist(), curves[5].tolist()]
    assert [line.get_ydata().tolist() for line in right.lines] == [[9, 10, 11], [12, 13, 14]]
    assert left.get_title() == "labelled class 0 (largest class, 4 samples)"
    assert right.get_title() == "labelled class 1 (smallest class, 2 samples)"
    band = left.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(curves[[0, 1, 2], 2].mean() + curves[[0, 1, 2], 2].std())


def test_samples_that_the_probe_did_not_see_are_left_out_of_its_curves() -> None:
    curves = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
    figure = samples.loss_curves(curves, split([0, 0, 0], [0, 0, 0]))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.0, 3.0]
    assert [axes.get_title() for axes in figure.axes] == ["labelled class 0 (2 samples)"]


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([5, 5, 5], [(0, ""), (2, "")]),
        ([5, 9, 2], [(1, "largest class"), (2, "smallest class")]),
        ([0, 4, 0], [(1, "")]),
        ([0, 0], []),
    ],
)
def test_loss_curves_are_of_two_classes_where_there_are_two(
    sizes: list[int], chosen: list[tuple[int, str]]
) -> None:
    assert samples.largest_and_smallest(np.array(sizes)) == chosen


def test_a_title_counts_what_is_drawn_and_names_the_class() -> None:
    labels = split([0, 0, 0, 1], [0, 0, 0, 1])
    curves = np.array([[1.0], [np.nan], [3.0], [4.0]])
    figure = samples.loss_curves(curves, labels, names=("owl", "hen"))
    left, right = figure.axes
    assert left.get_title() == "labelled owl (largest class, 2 samples)"
    assert right.get_title() == "labelled hen (smallest class, 1 samples)"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["right label (2)"]


def test_classes_have_their_names_on_the_axes() -> None:
    labels = split([0, 1, 1], [0, 1, 1])
    names = ("barn owl", "guinea fowl")
    figure = samples.class_counts(labels, names=names)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == list(names)
    axes = training.confusion({"ce": np.eye(2, dtype=int)}, names=names).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(names)


def test_the_bars_are_the_given_classes_and_their_wrong_part() -> None:
    figure = samples.class_counts(split([0, 0, 1, 1, 1], [0, 1, 1, 1, 0]))
    heights = [[bar.get_height() for bar in part] for part in figure.axes[0].containers]
    assert heights == [[2, 3], [1, 1]]


def test_the_weights_are_medians_and_quartiles_of_each_given_class() -> None:
    weights = np.array([0.1, 0.2, 0.9, 0.5])
    figure = samples.weights_by_class(weights, split([0, 0, 0, 1], [0, 0, 0, 0]))
    right, wrong = figure.axes[0].lines
    assert (right.get_xdata().round().tolist(), right.get_ydata().tolist()) == ([0], [0.2])
    assert (wrong.get_xdata().round().tolist(), wrong.get_ydata().tolist()) == ([1], [0.5])
    low, high = figure.axes[0].collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.15, 0.55))


def test_weights_that_are_all_alike_lie_below_the_top() -> None:
    figure = samples.weights_by_class(np.ones(4), split([0, 0, 1, 1], [0, 1, 1, 0]))
    assert figure.axes[0].get_ylim() == (0, pytest.approx(1.1, abs=0.05))


def test_epochs_are_whole_numbers() -> None:
    rows = [{"epoch": k, "loss": 1.0 - k, "accuracy": 50.0, "weight_gap": 0.1} for k in range(3)]
    for figure in (training.learning_curves([], rows), training.weight_over_time(rows)):
        assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_a_heat_map_has_the_accuracy_of_each_place_and_a_dash_where_there_is_none() -> None:
    heat = {(1.0, 0.0): 90.0, (1.0, 0.4): 80.0, (10.0, 0.0): None}
    axes = grids.heat_maps({"a": heat, "b": {(10.0, 0.4): 50.0}}, "%").axes
    assert [text.get_text() for text in axes[0].texts] == ["90.0", "80.0", "–", "–"]
    assert [text.get_text() for text in axes[1].texts] == ["–", "–", "–", "50.0"]
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim() == (50.0, 90.0)


def test_differences_have_a_sign_and_shades_around_zero() -> None:
    axes = grids.heat_maps({"a": {(1.0, 0.0): -3.0, (1.0, 0.4): 1.0}}, "points", signed=True).axes
    assert [text.get_text() for text in axes[0].texts] == ["-3.0", "+1.0"]
    assert axes[0].images[0].get_clim() == (-3.0, 3.0)


def test_better_is_blue_and_the_colour_bar_says_so() -> None:
    red, _, blue, _ = (image := _signed(4.0).axes[0].images[0]).cmap(image.norm(4.0))
    assert blue > red
    red, _, blue, _ = image.cmap(image.norm(-4.0))
    assert red > blue


@pytest.mark.parametrize(("value", "ends"), [(0.1, (-2.5, 2.5)), (-7.0, (-7.0, 7.0))])
def test_a_difference_by_chance_is_pale(value: float, ends: tuple[float, float]) -> None:
    assert _signed(value).axes[0].images[0].get_clim() == ends


@pytest.mark.parametrize("values", [[90.0, 90.1], [0.0, 0.1], [99.9, 100.0], [50.0, 50.0]])
def test_shades_of_accuracies_span_five_points_or_more(values: list[float]) -> None:
    heat = {(1.0, float(k)): value for k, value in enumerate(values)}
    low, high = grids.heat_maps({"a": heat}, "%").axes[0].images[0].get_clim()
    assert high - low >= 5 - 1e-9
    assert 0 <= low <= min(values) <= max(values) <= high


def test_axes_do_not_make_noise_a_cliff() -> None:
    of = {"a": {"s": (90.0, None)}, "b": {"s": (90.3, None)}}
    for figure in (
        grids.accuracy_by_setting(of),
        grids.accuracy_against_cost({"a": (90.0, None, 1.0), "b": (90.3, None, 2.0)}, "cpu"),
        training.learning_curves([], [{"epoch": k, "accuracy": 90 + k / 10} for k in range(3)]),
    ):
        low, high = figure.axes[-1].get_ylim()
        assert high - low >= 5 - 1e-9
        assert "seeds" not in figure.axes[-1].get_ylabel()


def _signed(value: float) -> Any:
    return grids.heat_maps({"a": {(1.0, 0.0): value}}, "points", signed=True)


def test_confusion_matrices_stand_side_by_side_with_their_accuracy() -> None:
    matrix = np.array([[8, 2], [1, 9]])
    one, two, bar = training.confusion({"ce": matrix, "curvenet": matrix.T}).axes
    assert bar.get_ylabel() == "share of the true class"
    assert (one.get_title(), two.get_title()) == ("ce: 85.00 %", "curvenet: 85.00 %")
    assert [text.get_text() for text in one.texts] == ["8", "2", "1", "9"]


def test_names_are_drawn_letter_by_letter() -> None:
    name = r"$\input{x}$ <script>alert(1)</script>"
    figure = grids.heat_maps({name: {(1.0, 0.0): 1.0}}, "%")
    content = file_of(figure, "svg").decode()
    assert "<script>" not in content
    assert r"$\input{x}$ &lt;script" in content


def test_the_same_data_gives_the_same_file() -> None:
    made = [file_of(samples.class_counts(split([0, 1], [0, 0])), form) for form in ("svg", "png")]
    again = [file_of(samples.class_counts(split([0, 1], [0, 0])), form) for form in ("svg", "png")]
    assert made == again


# -- from a storage --------------------------------------------------------------------------------


def test_thirty_methods_stand_apart_and_their_names_fit() -> None:
    names = [f"method-{k}" for k in range(33)]
    settings = ["imbalance 1, noise 0", "imbalance 10, noise 0.4"]
    of = {name: dict.fromkeys(settings, (50.0 + k, 1.0)) for k, name in enumerate(names)}
    figure = grids.accuracy_by_setting(of)
    files = [file_of(figure, "png")]  # a warning that the plot collapsed would be an error
    places = [bars.lines[0].get_xdata() for bars in figure.axes[0].containers]
    first = [float(place[0]) for place in places]
    assert first == sorted(first)
    assert -0.5 < min(first) < max(first) < 0.5
    files.append(
        file_of(grids.accuracy_against_cost(dict.fromkeys(names, (50, 1, 9)), "cpu"), "png")
    )
    assert all(len(content) > 10_000 for content in files)


def test_published_numbers_are_lines_beside_the_method_that_they_are_of() -> None:
    methods = {"cross-entropy": {"a": (80.0, None), "b": (70.0, None)}, "sop": {"a": (82.0, None)}}
    published = [
        ("cross-entropy", "a", 83.91, False),
        ("sop", "a", 71.76, True),
        ("sop", "nowhere", 1.0, True),
    ]
    figure = grids.accuracy_by_setting(methods, "", published)
    (axes,) = figure.axes
    flat = {
        float(line.get_ydata()[0]): line
        for line in axes.lines
        if len(line.get_ydata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
    }
    assert {value: line.get_linestyle() for value, line in flat.items()} == {83.91: ":", 71.76: "-"}
    assert abs(flat[83.91].get_xdata().mean() - flat[71.76].get_xdata().mean()) < 0.2
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[-2:] == ["published", "published, of another\nclassifier"]
    plain = grids.accuracy_by_setting(methods)
    assert len(plain.legends[0].get_texts()) == 2
