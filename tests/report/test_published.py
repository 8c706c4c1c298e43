import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.grids.cells import read_grid
from curvetune.planning.space import load_space
from curvetune.report.document import Document
from curvetune.report.published.matching import labels_of
from curvetune.report.published.numbers import FILE, Library, library
from curvetune.report.published.table import published_document
from curvetune.report.tables.paper import paper_document
from curvetune.store.files import write_json

CIFAR = {"name": "cifar10"}
WIDE: dict[str, Any] = {"data": CIFAR, "model": {"name": "resnet32"}}
PAPER = Path(__file__).parents[3] / "shared" / "docs" / "paper.txt"


def grid_of(root: Path, cells: Sequence[CellConfig], accuracy: float = 80.0) -> None:
    write_grid(root, cells)
    for k, cell in enumerate(cells):
        finish(root, cell, accuracy + k)


def noisy(cells: Sequence[CellConfig], noise: str) -> list[CellConfig]:
    return [
        cell.model_copy(update={"bias": cell.bias.model_copy(update={"noise": noise})})
        for cell in cells
    ]


def rows_of(found: Document, table: str) -> list[Any]:
    return [r for r in found.records if r["table"] == table]


def test_the_file_of_published_numbers_has_all_ten_tables_of_the_paper() -> None:
    tables = {table.table for table in library().tables if table.source == "curvenet"}
    assert tables == {f"Table {k}" for k in range(1, 11)}
    assert set(library().paper()) == {"1", "2", "3", "6", "7", "8", "9", "10"}


@pytest.mark.parametrize(
    ("table", "start", "end"),
    [
        ("Table 1", "CE Loss 74.49", "Table 1:"),
        ("Table 2", "MW-Net(imb) 77.55", "Table 2:"),
        ("Table 3", "MW-Net(imb) 49.71", "Table 3:"),
        ("Table 4", "Acc.(%) 68.94", "Table 4:"),
        ("Table 5", "Acc.(%) 81.44", "Table 5:"),
        ("Table 6", "CE Loss 78.81", "Table 6:"),
        ("Table 7", "Acc.(%) 77.89", "Table 7:"),
        ("Table 8", "MA (%) 82.46", "Table 8:"),
        ("Table 9", "MA (%) 79.43 82.42", "Table 9:"),
        ("Table 10", "MA (%) 79.43 82.46", "Table 10:"),
    ],
)
def test_every_number_is_that_of_the_papers_text_in_its_order(
    table: str, start: str, end: str
) -> None:
    if not PAPER.exists():
        pytest.skip("the paper's text is not here")
    text = PAPER.read_text()
    begin = text.index(start)
    expected = [float(n) for n in re.findall(r"\d+\.\d\d", text[begin : text.index(end, begin)])]
    ours = next(t for t in library().tables if (t.source, t.table) == ("curvenet", table))
    by_row = [value for row in ours.rows for value in row.values]
    by_column = [
        value for column in zip(*(r.values for r in ours.rows), strict=True) for value in column
    ]
    assert expected == (by_column if ours.transposed else by_row)


def test_the_arithmetic_of_the_papers_text_holds() -> None:
    def value(table: str, row: str, column: int) -> float:
        found = next(t for t in library().tables if (t.source, t.table) == ("curvenet", table))
        number = next(r for r in found.rows if r.name == row).values[column]
        assert number is not None
        return number

    assert value("Table 1", "Ours", 1) - value("Table 1", "MW-Net(noise)", 1) == pytest.approx(1.21)
    assert value("Table 3", "Ours", 4) - value("Table 3", "MW-Net(imb)", 4) == pytest.approx(2.98)
    assert value("Table 7", "Ours 0", 0) - value("Table 7", "CE 100", 0) == pytest.approx(1.13)
    assert value("Table 8", "SL=0", 1) / value("Table 8", "SL=3", 1) == pytest.approx(
        5.71, abs=0.01
    )


def test_a_row_with_too_few_numbers_is_refused() -> None:
    broken = library().model_dump()
    broken["tables"][0]["rows"][0]["values"] = [1.0]
    with pytest.raises(ValueError, match=r"row CE Loss: 1 values for 2 columns"):
        Library.model_validate(broken)
    broken = library().model_dump()
    broken["tables"][0]["rows"][0]["method"] = "cross"
    with pytest.raises(ValueError, match="method 'cross': allowed are cross-entropy"):
        Library.model_validate(broken)
    assert FILE.name == "published.yaml"


def test_the_report_says_that_the_paper_has_no_digits_numbers(tmp_path: Path) -> None:
    grid_of(tmp_path, make_cells(seeds=(0,)))
    command = ["report", "small", "--published", "--storage", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "the paper has no digits numbers" in result.stdout
    assert "cross-entropy" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert {row["published"] for row in found["rows"]} == {None}


def test_a_number_stands_beside_that_of_the_same_setting_and_method(tmp_path: Path) -> None:
    methods = [{"name": "mw-net-imb"}, {"name": "mw-net-noise"}]
    cells = make_cells(methods, imbalances=(1,), noise_rates=(0.4,), seeds=(0, 1), **WIDE)
    grid_of(tmp_path, noisy(cells, "flip2"))
    found = published_document(read_grid(tmp_path, "small"), "last")
    assert [(r["method"], r["ours"], r["published"]) for r in found.records] == [
        ("mw-net-imb", 81.0, 87.51),
        ("mw-net-noise", 82.0, 88.25),
    ]
    one = found.records[0]
    assert one["difference"] == pytest.approx(81 - 87.51)
    assert (one["table"], one["row"]) == ("Table 2", "MW-Net(imb)")
    assert (one["column"], one["cells_done"]) == ("imbalance 1, noise 0.4", 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"name": "cifar10", "train_limit": 500}}, "is a part of CIFAR-10"),
        ({"model": {"name": "resnet8"}}, "are of resnet32, torchvision/resnet34, wrn-16-8, not"),
    ],
)
def test_nothing_is_compared_that_does_not_correspond(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    cells = make_cells([{"name": "mw-net-imb"}], (1,), (0.4,), (0,), **(WIDE | change))
    grid_of(tmp_path, noisy(cells, "flip2"))
    found = published_document(read_grid(tmp_path, "small"), "last")
    assert [r["published"] for r in found.records] == [None]
    assert any(reason in note for note in found.notes)


def test_another_kind_of_noise_does_not_correspond(tmp_path: Path) -> None:
    cells = make_cells([{"name": "mw-net-imb"}], (1,), (0.4,), (0,), **WIDE)
    grid_of(tmp_path, noisy(cells, "exact_prop"))
    found = published_document(read_grid(tmp_path, "small"), "last")
    assert [r["published"] for r in found.records] == [None]


def test_a_mean_over_part_of_its_settings_is_not_compared(tmp_path: Path) -> None:
    cells = make_cells([{"name": "cross-entropy"}], (1, 10), (0.4,), (0,), **WIDE)
    grid_of(tmp_path, noisy(cells, "flip2"))
    found = published_document(read_grid(tmp_path, "small"), "last")
    assert [r["published"] for r in found.records] == [None]
    assert any("a mean over 18 settings, of which this grid has 2" in n for n in found.notes)


def test_an_ma_stands_beside_that_of_table_1(tmp_path: Path) -> None:
    cells = make_cells(
        [{"name": "cross-entropy"}], (1, 10, 20, 50, 100, 200), (0.0, 0.2, 0.4), (0,), **WIDE
    )
    grid_of(tmp_path, noisy(cells, "flip2"), 60)
    found = published_document(read_grid(tmp_path, "small"), "last")
    one = rows_of(found, "Table 1")[0]
    assert (one["ours"], one["published"], one["cells"]) == (pytest.approx(68.5), 74.49, 18)
    # and cross entropy on long tails, by FaMUS
    assert [r["published"] for r in rows_of(found, "Table 8, CIFAR-10-LT")] == [
        70.36,
        74.81,
        82.23,
        86.39,
    ]
    table = paper_document(tmp_path, read_grid(tmp_path, "small"), "1", "last")
    assert table.sheets[0].rows[0] == ("CE Loss", "68.50", "74.49", "–", "46.76")
    assert table.sheets[0].rows[-1] == ("Ours", "–", "75.70", "–", "50.49")
    alone = paper_document(tmp_path, read_grid(tmp_path, "small"), "1", "last", published=False)
    assert alone.sheets[0].rows[0] == ("CE Loss", "68.50", "–")


def skip_grid(root: Path) -> None:
    methods = [{"name": "curvenet", "removed_losses": 5, "skip_layers": k} for k in (0, 3)]
    long = {"probe": {"epochs": 20, "cyclic_start": 2, "half_period": 1}}
    cells = make_cells(methods, (1, 10, 20), (0.0, 0.2, 0.4, 0.6), (0,), **(WIDE | long))
    grid_of(root, cells, 70)


def test_table_8_has_its_columns_and_the_times_that_were_measured(tmp_path: Path) -> None:
    skip_grid(tmp_path)
    steps = [
        {"method": {"name": "curvenet", "skip_layers": k}, "meta_ms": [1, 20.0 - k, 30]}
        for k in (0, 3)
    ]
    write_json(tmp_path / "step_times" / "small.json", {"steps": steps, "device": "cpu"})
    found = paper_document(tmp_path, read_grid(tmp_path, "small"), "8", "last")
    sheet = found.sheets[0]
    assert sheet.header == (("",), ("SL=0",), ("SL=1",), ("SL=2",), ("SL=3",))
    assert sheet.rows[0] == ("MA (%)", "81.00", "–", "–", "82.00")
    assert sheet.rows[1] == ("MA (%), paper", "82.46", "81.99", "81.81", "81.53")
    assert sheet.rows[2] == ("time(ms)", "20.00", "–", "–", "17.00")
    assert sheet.best == frozenset({(0, 4)})


def test_times_of_other_data_are_not_put_into_table_8(tmp_path: Path) -> None:
    grid_of(tmp_path, make_cells([{"name": "curvenet"}], seeds=(0,)))
    steps = [{"method": {"name": "curvenet", "skip_layers": 0}, "meta_ms": [1, 20.0, 30]}]
    write_json(tmp_path / "step_times" / "small.json", {"steps": steps, "device": "cpu"})
    found = paper_document(tmp_path, read_grid(tmp_path, "small"), "8", "last")
    assert found.sheets[0].rows[2] == ("time(ms)", "–", "–", "–", "–")


def test_damaged_times_cost_table_8_its_times_only(tmp_path: Path) -> None:
    skip_grid(tmp_path)
    write_json(tmp_path / "step_times" / "small.json", {"steps": [7]})
    found = paper_document(tmp_path, read_grid(tmp_path, "small"), "8", "last")
    assert found.sheets[0].rows[0][1] == "81.00"
    assert found.sheets[0].rows[2][1:] == ("–", "–", "–", "–")
    assert any("times of a step: not read" in note for note in found.notes)


def test_a_row_is_of_the_options_that_the_paper_varies() -> None:
    row = {r.name: r for t in library().tables if t.table == "Table 7" for r in t.rows}
    plain = {"name": "curvenet", "skip_layers": 0, "embedding_dim": 64, "removed_losses": 5}
    assert row["Ours 100"].is_of(plain)
    assert not row["Ours 100"].is_of(plain | {"meta_images": 20})
    assert row["Ours 20"].is_of(plain | {"meta_images": 20})
    assert not row["Ours 100"].is_of(plain | {"drw": True})
    assert row["Ours 0"].is_of(plain | {"meta": "low_loss"})


@pytest.mark.parametrize("name", ["backbone", "embedding-dim", "meta-size", "removed-losses"])
def test_every_row_of_an_ablation_is_in_its_search_space(tmp_path: Path, name: str) -> None:
    number = {"backbone": "6", "embedding-dim": "9", "meta-size": "7", "removed-losses": "10"}[name]
    write_grid(tmp_path, load_space(f"ablate-{name}").cells)
    grid = read_grid(tmp_path, "small")
    for row in library().paper()[number].rows:
        assert len(labels_of(grid, row)) == 1, row.name


@pytest.mark.parametrize("number", ["4", "11", "x"])
def test_a_table_that_cannot_be_laid_out_is_refused(tmp_path: Path, number: str) -> None:
    grid_of(tmp_path, make_cells(seeds=(0,)))
    with pytest.raises(ConfigError, match="allowed are 1, 2, 3, 6, 7, 8, 9, 10"):
        paper_document(tmp_path, read_grid(tmp_path, "small"), number, "last")
