import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from storage_fixtures import DIGEST, fail, finish, make_cells, write_grid

from curvetune.analysis.aggregate import cells_frame
from curvetune.analysis.statistics import mean_accuracy
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.grids.cells import read_grid
from curvetune.grids.labels import method_labels
from curvetune.report.latex import table as latex
from curvetune.report.sheet import Sheet, markdown
from curvetune.report.tables.main import print_report, render, report_json
from curvetune.store import CellStore
from curvetune.store.files import write_json

CROSS: dict[str, Any] = {"name": "cross-entropy"}
CURVE: dict[str, Any] = {"name": "curvenet"}


def labels_of(cells: list[CellConfig]) -> list[str]:
    return method_labels([cell.model_dump(mode="json") for cell in cells])


def row_of(report: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in report["methods"] if row["method"] == method)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 settings, 2 seeds, 2 methods; read only."""
    root = tmp_path_factory.mktemp("small")
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,))
    write_grid(root, cells)
    # imbalance, seed and method change from slow to fast
    for cell, accuracy in zip(cells, (80, 90, 84, 92, 60, 75, 62, 79), strict=True):
        finish(root, cell, accuracy)
    return root


def test_ma_is_the_mean_over_settings_of_the_means_over_seeds(small: Path) -> None:
    report = report_json(small, "small")
    cross, curve = row_of(report, "cross-entropy"), row_of(report, "curvenet")
    assert cross["ma"] == pytest.approx(((80 + 84) / 2 + (60 + 62) / 2) / 2)
    assert curve["ma"] == pytest.approx(((90 + 92) / 2 + (75 + 79) / 2) / 2)


def test_the_spread_of_ma_is_the_sample_deviation_of_the_ma_of_each_seed(small: Path) -> None:
    ma_of_seed_0, ma_of_seed_1 = (80 + 60) / 2, (84 + 62) / 2
    mean = (ma_of_seed_0 + ma_of_seed_1) / 2
    expected = ((ma_of_seed_0 - mean) ** 2 + (ma_of_seed_1 - mean) ** 2) ** 0.5
    assert row_of(report_json(small, "small"), "cross-entropy")["ma_std"] == pytest.approx(expected)


def test_select_decides_which_accuracy_the_means_are_of(small: Path) -> None:
    ma = {s: row_of(report_json(small, "small", s), "curvenet")["ma"] for s in ("last", "best")}
    assert ma["best"] == pytest.approx(ma["last"] + 1)
    last10 = row_of(report_json(small, "small", "last10"), "curvenet")["ma"]
    assert last10 == pytest.approx(ma["last"] - 1)
    # the cells hold all three, whichever was asked for
    assert report_json(small, "small", "best")["cells"][0]["accuracy"] == 80


def test_unequal_numbers_of_seeds_do_not_weigh_a_setting(tmp_path: Path) -> None:
    cells = make_cells([CROSS], imbalances=(1, 10), noise_rates=(0.4,))
    write_grid(tmp_path, cells)
    for cell, accuracy in zip(cells[:3], (80, 90, 50), strict=True):
        finish(tmp_path, cell, accuracy)
    row = row_of(report_json(tmp_path, "small"), "cross-entropy")
    assert row["ma"] == pytest.approx((85 + 50) / 2)
    assert (row["cells_done"], row["cells"]) == (3, 4)
    assert row["ma_std"] is None  # one seed alone has all settings


def test_a_missing_setting_leaves_no_ma_but_a_count(tmp_path: Path) -> None:
    cells = make_cells([CROSS], imbalances=(1, 10), noise_rates=(0.0,), seeds=(0,))
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 80)
    fail(tmp_path, cells[1])
    row = row_of(report_json(tmp_path, "small"), "cross-entropy")
    assert (row["ma"], row["ma_std"], row["ma_so_far"]) == (None, None, 80)
    assert (row["cells_done"], row["cells"]) == (1, 2)
    text = render(tmp_path, "small", "markdown")
    assert "| cross-entropy | – | 1/2 |" in text
    assert "1 of 2 cells are missing (1 failed)" in text


def test_a_result_that_was_changed_on_disk_is_not_counted(small: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small, tmp_path / "copy")
    folder = CellStore(copy).folder(read_grid(copy, "small").cells[0].cell_id)
    (folder / "model.safetensors").write_bytes(b"rot")
    assert row_of(report_json(copy, "small"), "cross-entropy")["cells_done"] == 3


def test_the_report_keeps_its_contract(small: Path) -> None:
    report = report_json(small, "small")
    assert json.loads(json.dumps(report)) == report
    assert {"schema_version", "grid", "select", "methods", "cells"} <= report.keys()
    for row in report["methods"]:
        assert {"method", "ma", "ma_std", "cells_done", "cells"} <= row.keys()
    keys = ["cell_id", "probe_id", "method", "imbalance", "noise", "noise_rate", "seed", "seconds"]
    for cell in report["cells"]:
        assert {*keys, "accuracy", "accuracy_best", "accuracy_last10", "state"} <= cell.keys()
    curve = report["cells"][1]
    assert (curve["accuracy"], curve["accuracy_best"], curve["accuracy_last10"]) == (90, 91, 89)
    assert curve["seconds"] == 16  # 4 epochs of the probe and 4 of the final training, 2 s each


def test_times_of_a_step_stand_in_every_form_but_csv(small: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small, tmp_path / "copy")
    kept = copy / "step_times" / "small.json"
    step = {"method": {"name": "curvenet"}, "model": "resnet32", "batch_size": 128, "pairs": 9}
    times = {"meta_ms": [230.0, 240.0, 250.0], "iteration_ms": [400.0, 410.0, 420.0]}
    write_json(kept, {"grid": "small", "device": "x", "threads": 1, "steps": [step | times]})
    for form in ("markdown", "latex", "html"):
        assert "240.0 (230.0 to 250.0)" in render(copy, "small", form)
    report = json.loads(render(copy, "small", "json"))
    assert report["step_times"]["steps"][0]["meta_ms"] == times["meta_ms"]
    kept.write_text("[]")
    report = json.loads(render(copy, "small", "json"))
    assert report["step_times"] is None
    assert "the times of a step cannot be read" in report["notes"][-1]
    assert "the times of a step cannot be read" in render(copy, "small", "markdown")


def test_an_unknown_grid_is_refused_with_the_names_that_there_are(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown grid 'smal' \(did you mean 'small'\?\)"):
        report_json(small, "smal")


def test_a_label_is_the_plain_name_where_nothing_varies() -> None:
    assert set(labels_of(make_cells())) == {"cross-entropy", "curvenet"}


def test_a_label_names_the_options_that_vary() -> None:
    methods = [CROSS, {**CURVE, "skip_layers": 0}, {**CURVE, "skip_layers": 1, "drw": True}]
    assert set(labels_of(make_cells(methods))) == {
        "cross-entropy",
        "curvenet skip_layers=0 drw=false",
        "curvenet skip_layers=1 drw=true",
    }


def test_a_label_names_a_schedule_that_varies_and_no_setting_or_seed() -> None:
    cells = [
        *make_cells([CROSS], allocate={"epochs": 5, "warmup": 0, "milestones": [2]}),
        *make_cells([CROSS], allocate={"epochs": 6, "warmup": 0, "milestones": [2]}),
    ]
    assert set(labels_of(cells)) == {
        "cross-entropy allocate.epochs=5",
        "cross-entropy allocate.epochs=6",
    }


def test_a_label_leaves_out_what_the_data_decide() -> None:
    cells = make_cells([CROSS]) + make_cells([CROSS], data={"name": "cifar10"})
    sizes = {cell.data.meta_per_class for cell in cells}
    assert len(sizes) == 2
    assert set(labels_of(cells)) == {"cross-entropy"}


def test_without_noise_the_kind_of_noise_makes_no_setting(tmp_path: Path) -> None:
    cells = make_cells([CROSS], imbalances=(1,), noise_rates=(0.0,), seeds=(0,))
    other = cells[0].model_copy(
        update={"seed": 1, "bias": cells[0].bias.model_copy(update={"noise": "flip"})}
    )
    write_grid(tmp_path, [cells[0], other])
    assert len(read_grid(tmp_path, "small").settings) == 1


def test_mean_accuracy_of_no_settings_is_not_known() -> None:
    scores: dict[tuple[str, int], float] = {}
    assert mean_accuracy([], scores).mean is None


def test_the_best_of_each_column_is_bold_and_ties_are_all_bold(tmp_path: Path) -> None:
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path, cells)
    for cell, accuracy in zip(cells, (70, 70, 60, 65), strict=True):
        finish(tmp_path, cell, accuracy)
    lines = render(tmp_path, "small", "markdown").splitlines()
    assert "| curvenet | **67.50** | 2/2 |" in lines
    assert "| cross-entropy | 65.00 | 2/2 |" in lines
    assert "| curvenet | **70.00** | **65.00** |" in lines
    assert "| cross-entropy | **70.00** | 60.00 |" in lines


def test_methods_are_sorted_by_ma(small: Path) -> None:
    text = render(small, "small", "markdown")
    assert text.index("| curvenet |") < text.index("| cross-entropy |")


def test_latex_escapes_what_latex_would_read() -> None:
    sheet = Sheet(
        title="50 % of a_b & c#1",
        header=(("method",), ("noise_rate", "{x}")),
        rows=(("curvenet skip_layers=1", "1.00 ± 0.50"), ("back\\slash~^", "–")),
        best=frozenset({(0, 1)}),
    )
    text = latex(sheet, "a_b")
    assert r"\caption{50 \% of a\_b \& c\#1.}\label{tab:a-b}" in text
    assert r" & \multicolumn{1}{c}{noise\_rate} \\" in text
    assert r"method & \{x\} \\" in text
    assert r"curvenet skip\_layers=1 & \textbf{1.00 $\pm$ 0.50} \\" in text
    assert r"back\textbackslash{}slash\textasciitilde{}\textasciicircum{} & -- \\" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in text


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    sheet = Sheet("t", (("a",), ("b", "c")), (("x", "1"), ("y", "2")))
    lines = [line for line in markdown(sheet).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {3}


def test_csv_holds_the_numbers_in_full(small: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(render(small, "small", "csv"))))
    assert [row["method"] for row in rows] == ["curvenet", "cross-entropy"]
    assert float(rows[1]["ma"]) == 71.5
    assert float(rows[1]["imbalance 10, noise 0.4"]) == 61
    assert float(rows[1]["imbalance 10, noise 0.4, std"]) == pytest.approx(2**0.5)
    assert rows[1]["imbalance 10, noise 0.4, seeds"] == "2"


def test_an_unknown_format_is_refused(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"'latx': allowed are .*did you mean 'latex'"):
        render(small, "small", "latx")


@pytest.mark.parametrize("width", [50, 80, 200])
def test_a_wide_table_goes_on_below_instead_of_losing_columns(tmp_path: Path, width: int) -> None:
    cells = make_cells([CROSS], imbalances=(1, 10, 20, 50, 100, 200), noise_rates=(0.4,))
    write_grid(tmp_path, cells)
    for k, cell in enumerate(cells):
        finish(tmp_path, cell, 50 + k)
    out = io.StringIO()
    print_report(tmp_path, "small", Console(file=out, width=width))
    assert "…" not in out.getvalue()
    assert out.getvalue().count("imbalance ") == 6
    assert out.getvalue().count("±") == 6 + 2  # and in MA, and in the note
    rows = [line for line in out.getvalue().splitlines() if "cross-entropy" in line]
    assert max(map(len, rows)) <= width


def test_cells_come_as_a_data_frame(small: Path) -> None:
    frame = cells_frame(small, "small")
    assert frame.height == 8
    assert frame.group_by("method").len().height == 2
    assert frame.filter(frame["name"] == "curvenet")["skip_layers"].to_list() == [0] * 4
    assert frame.filter(frame["name"] == "cross-entropy")["skip_layers"].null_count() == 4
    assert frame["accuracy"].sum() == 80 + 90 + 84 + 92 + 60 + 75 + 62 + 79


def test_ids_in_a_report_are_those_of_the_configs(small: Path) -> None:
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,))
    ids = [(cell.cell_id(DIGEST), cell.probe_id(DIGEST)) for cell in cells]
    assert [(c["cell_id"], c["probe_id"]) for c in report_json(small, "small")["cells"]] == ids
