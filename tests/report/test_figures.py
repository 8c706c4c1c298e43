"""Figures show the numbers of the storage; one that cannot be drawn costs no other one."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from storage_fixtures import finish, make_cells, write_grid
from trained_grid import GRID, train_grid
from typer.testing import CliRunner

from curvetune.analysis.predictions import confusion_matrix
from curvetune.cli import figures as command
from curvetune.data.recipe import fed
from curvetune.errors import ConfigError
from curvetune.grids.cells import Cell, Grid, read_grid
from curvetune.grids.labels import Setting
from curvetune.report.figures import (
    FIGURES,
    Drawn,
    draw_all,
    name_of,
)
from curvetune.report.figures.gather import CellFiles, GridImages
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


@pytest.mark.parametrize("name", ["samples.safetensors", "history.jsonl"])
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


def test_the_confusions_of_a_result_are_those_that_its_classifier_makes(trained: Path) -> None:
    grid = read_grid(trained, GRID)
    images = GridImages(grid, None)
    assert images.dataset is not None
    for cell in grid.cells:
        files = CellFiles(trained, grid, cell, images)
        dataset = fed(images.dataset, files.config.data, grid.digest)
        path = CellStore(trained).folder(cell.cell_id) / "model.safetensors"
        asked = confusion_matrix(files.config, dataset, files.split, path)
        assert np.array_equal(files.confusion(), asked)
        assert 100 * np.trace(asked) / asked.sum() == pytest.approx(cell.accuracy())


def test_a_result_without_confusions_asks_its_classifier_once_on_a_machine(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    grid = read_grid(trained, GRID)
    new = grid.cells[0]
    old = replace(new, result={k: v for k, v in (new.result or {}).items() if k != "confusion"})
    images = GridImages(grid, None)
    expected = CellFiles(trained, grid, new, images).confusion()
    assert not (tmp_path / "cache").exists()
    for images in (GridImages(grid, None), GridImages(grid, None)):
        assert np.array_equal(CellFiles(trained, grid, old, images).confusion(), expected)
    (kept,) = (tmp_path / "cache" / "arrays").iterdir()
    kept.write_bytes(b"damaged" + kept.read_bytes()[7:])
    found = CellFiles(trained, grid, old, GridImages(grid, None)).confusion()
    assert np.array_equal(found, expected)


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
