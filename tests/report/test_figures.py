"""Figures show the numbers of the storage; one that cannot be drawn costs no other one."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from storage_fixtures import finish, make_cells, write_grid
from trained_grid import GRID, train_grid
from typer.testing import CliRunner

from curvetune.cli import figures as command
from curvetune.data.splits import Split
from curvetune.errors import ConfigError
from curvetune.grids.cells import Cell, Grid, read_grid
from curvetune.grids.labels import Setting
from curvetune.report.figures import (
    FIGURES,
    Drawn,
    draw_all,
    file_of,
    grids,
    name_of,
    samples,
    training,
)
from curvetune.report.figures.of_grid import files_of_grid, files_of_method
from curvetune.report.tables.main import report_json
from curvetune.store import CellStore

OF_GRID = ("settings", "heat", "heat-difference", "accuracy-cost", "ablation")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    train_grid(root)
    return root


def by_name(root: Path, **options: Any) -> dict[tuple[str, str | None], Drawn]:
    return {(d.name, d.cell_id): d for d in draw_all(root, read_grid(root, GRID), **options)}


def cell_of(grid: Grid, label: str, rate: float) -> str:
    (found,) = [c.cell_id for c in grid.cells if (c.label, c.setting.noise_rate) == (label, rate)]
    return found


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


def test_every_figure_of_a_trained_grid_is_drawn_or_does_not_exist(trained: Path) -> None:
    drawn = by_name(trained)
    grid = read_grid(trained, GRID)
    noisy = cell_of(grid, "curvenet", 0.4)
    for name in FIGURES:
        found = drawn[name, None if name in (*OF_GRID, "learning-methods") else noisy]
        assert (found.figure is not None) == (name != "ablation"), found
    assert all(found.figure is not None or found.is_missing for found in drawn.values())
    plain = cell_of(grid, "cross-entropy", 0.4)
    assert drawn["weights", plain].problem == "cross-entropy gives samples no weights"


def test_the_heat_maps_have_the_numbers_of_the_report(trained: Path) -> None:
    figure = by_name(trained, only=["heat"], cells=())["heat", None].figure
    assert figure is not None
    assert figure.get_suptitle().replace("\n", " ").startswith(f"{GRID} (digits per_class_limit=12")
    for axes, row in zip(figure.axes, report_json(trained, GRID)["methods"], strict=False):
        shown = [text.get_text() for text in axes.texts]
        assert (axes.get_title(), shown) == (
            row["method"],
            [f"{setting['accuracy']:.1f}" for setting in row["settings"]],
        )


def test_the_confusion_matrices_agree_with_the_accuracy_per_class(trained: Path) -> None:
    grid = read_grid(trained, GRID)
    cells = [cell for cell in grid.cells if cell.cell_id == cell_of(grid, "curvenet", 0.4)]
    figure = by_name(trained, only=["confusion"], cells=cells)["confusion", cells[0].cell_id].figure
    assert figure is not None
    baseline, own, _ = figure.axes
    assert figure.get_suptitle() == "imbalance 1, noise 0.4, seed 0"
    assert own.get_title() == f"curvenet: {cells[0].accuracy():.2f} %"
    assert baseline.get_title().startswith("cross-entropy: ")
    shares = np.diag(own.images[0].get_array())
    assert (100 * shares).tolist() == pytest.approx((cells[0].result or {})["per_class_accuracy"])


def test_the_figure_of_an_ablation_is_ma_over_its_option(tmp_path: Path) -> None:
    methods = [{"name": "curvenet", "skip_layers": k} for k in (0, 3)]
    cells = make_cells(methods=[*methods, {"name": "cross-entropy"}], seeds=[0, 1])
    for cell in cells:
        finish(tmp_path, cell, 70.0 - getattr(cell.method, "skip_layers", 9) + cell.seed)
    write_grid(tmp_path, cells)
    (drawn,) = draw_all(tmp_path, read_grid(tmp_path, "small"), only=["ablation"], cells=())
    assert drawn.figure is not None, drawn.problem
    (axes,) = drawn.figure.axes
    line = axes.lines[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0, 3], [70.5, 67.5])
    assert axes.get_xlabel() == "curvenet: skip_layers"
    (legend,) = drawn.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cross-entropy", "curvenet"]


def test_an_ablation_of_two_methods_has_a_plot_for_each(tmp_path: Path) -> None:
    swept = [{"name": "curvenet", "skip_layers": k} for k in (3, 0, 1)]
    swept += [{"name": "focal", "focal_gamma": k} for k in (1.0, 2.0)]
    cells = make_cells(methods=[*swept, {"name": "cross-entropy"}], seeds=[0])
    for k, cell in enumerate(cells):
        finish(tmp_path, cell, 70.0 + k % 6)
    write_grid(tmp_path, cells)
    (drawn,) = draw_all(tmp_path, read_grid(tmp_path, "small"), only=["ablation"], cells=())
    assert drawn.figure is not None, drawn.problem
    one, two = drawn.figure.axes
    assert (one.get_xlabel(), two.get_xlabel()) == ("curvenet: skip_layers", "focal: focal_gamma")
    assert one.lines[0].get_xdata().tolist() == [0, 1, 3]
    assert one.lines[0].get_ydata().tolist() == [71, 72, 70]
    assert two.lines[0].get_ydata().tolist() == [73, 74]


def test_an_ablation_of_two_options_has_a_line_for_each_choice_of_the_other(
    tmp_path: Path,
) -> None:
    options = [{"drw": drw, "skip_layers": k} for drw in (False, True) for k in (0, 1)]
    cells = make_cells(methods=[{"name": "curvenet", **one} for one in options], seeds=[0])
    for cell in cells:
        finish(tmp_path, cell, 70.0)
    write_grid(tmp_path, cells)
    (drawn,) = draw_all(tmp_path, read_grid(tmp_path, "small"), only=["ablation"], cells=())
    assert drawn.figure is not None, drawn.problem
    assert {axes.get_xlabel() for axes in drawn.figure.axes} == {
        "curvenet: skip_layers",
        "curvenet: drw",
    }
    (legend,) = drawn.figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        f"curvenet {word}" for word in ("drw=false", "drw=true", "skip_layers=0", "skip_layers=1")
    }


@pytest.mark.parametrize("name", ["samples.safetensors", "model.safetensors", "history.jsonl"])
def test_a_damaged_file_costs_its_own_figures_and_is_named(
    trained: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(trained, root)
    grid = read_grid(root, GRID)
    cell_id = cell_of(grid, "curvenet", 0.4)
    path = CellStore(root).folder(cell_id) / name
    path.write_bytes(b"{damaged" + path.read_bytes()[8:])
    broken = [
        drawn for drawn in draw_all(root, grid) if drawn.figure is None and not drawn.is_missing
    ]
    assert broken
    assert {drawn.cell_id for drawn in broken} - {None} == {cell_id}
    of_grid = [drawn.problem for drawn in broken if drawn.cell_id is None]
    assert [cell_id in problem for problem in of_grid] == [True] * (name == "history.jsonl")
    assert all("CorruptError" in drawn.problem for drawn in broken)


def test_a_split_of_something_else_is_named_and_the_heat_map_is_drawn(
    trained: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(trained, root)
    for path in (root / "splits").iterdir():
        path.write_bytes(b"no split")
    drawn = by_name(root)
    assert drawn["heat", None].figure is not None
    assert not any(d.figure for (name, _), d in drawn.items() if name in ("weights", "loss-curves"))


def test_the_files_of_runs_are_the_heat_maps(trained: Path) -> None:
    grid = read_grid(trained, GRID)
    drawn = {"settings.svg", "heat.svg", "heat-difference.svg", "accuracy-cost.svg"}
    assert set(files_of_grid(grid)) == drawn
    (content,) = files_of_method(grid, "curvenet").values()
    assert b"curvenet" in content
    assert b"cross-entropy" not in content


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(command.figures)
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_command_writes_files_and_lists_them(trained: Path, tmp_path: Path) -> None:
    done = run(GRID, "--storage", str(trained), "--out", str(tmp_path), "--only", "heat,weights")
    assert done.exit_code == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(Path(line).name for line in done.stdout.splitlines()) == written
    grid = read_grid(trained, GRID)
    weighted = [
        f"{GRID}-weights-curvenet-imbalance-1-noise-{rate:g}-seed-0-"
        f"{cell_of(grid, 'curvenet', rate)[:6]}.svg"
        for rate in (0.0, 0.4)
    ]
    assert written == sorted([f"{GRID}-heat.svg", *weighted])
    assert "cross-entropy gives samples no weights" in done.stderr
    assert all(b"<svg" in path.read_bytes()[:500] for path in tmp_path.iterdir())


@pytest.mark.parametrize("label", ["a/../../b", "x" * 300, "$(rm) `x`; & 'y'", "curvenet a=[1,2]"])
def test_a_file_of_a_figure_has_a_name_that_nobody_takes_amiss(label: str) -> None:
    cell = Cell("4f21aa00", None, {"seed": 1}, label, Setting("d", "m", 1.0, None, 0.0), "done")
    name = name_of(Grid("g", "", "", (cell,)), Drawn("heat", "4f21aa00", None))
    assert re.fullmatch(r"[\w.=-]{10,160}", name, re.ASCII)
    assert name.endswith("4f21aa")
    assert ".." not in Path(name).parts


def test_a_dark_figure_has_light_text(trained: Path, tmp_path: Path) -> None:
    run(GRID, "--storage", str(trained), "--out", str(tmp_path), "--only", "heat", "--dark")
    assert b"#0d1117" in (tmp_path / f"{GRID}-heat.svg").read_bytes()
    run(GRID, "--storage", str(trained), "--out", str(tmp_path), "--only", "heat")
    assert b"#0d1117" not in (tmp_path / f"{GRID}-heat.svg").read_bytes()


def test_png_files_are_images(trained: Path, tmp_path: Path) -> None:
    from PIL import Image

    run(
        GRID, "--storage", str(trained), "--out", str(tmp_path), "--only", "heat", "--format", "png"
    )
    with Image.open(tmp_path / f"{GRID}-heat.png") as image:
        assert image.width > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "heet"], r"figure 'heet': allowed are .* \(did you mean 'heat'\?\)"),
        (["--format", "gif"], "'gif': allowed are svg, png"),
        (["--cell", "zz"], "'zz' is 0 cells of tiny"),
        (["--select", "first"], "'first': allowed are last, last10, best"),
    ],
)
def test_wrong_options_are_refused(
    trained: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(GRID, "--storage", str(trained), "--out", str(tmp_path / "out"), *arguments)
    assert not (tmp_path / "out").exists()


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
