"""What the figure of a search shows."""

from curvetune.report.figures import file_of
from curvetune.report.figures.search import search_curves


def test_each_method_has_its_best_accuracy_after_each_trial() -> None:
    best = {"gce": [60.0, 60.0, 62.5], "cross-entropy": [58.0]}
    figure = search_curves(best, "small-tuned")
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert {name: [*line.get_ydata()] for name, line in drawn.items()} == best
    assert [*drawn["gce"].get_xdata()] == [1, 2, 3]
    assert drawn["gce"].get_drawstyle() == "steps-post"
    assert drawn["cross-entropy"].get_marker() != "None"  # one trial is a point
    assert "best validation accuracy so far" in axes.get_ylabel()
    assert file_of(figure, "svg") == file_of(search_curves(best, "small-tuned"), "svg")
