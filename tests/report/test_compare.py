import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.errors import ConfigError
from curvetune.report.compare import compare_grids, compare_methods

CROSS: dict[str, Any] = {"name": "cross-entropy"}
LATER = {"epochs": 6, "warmup": 0, "milestones": [3]}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grid `long` trains longer than `small` and lacks a cell; `focal` is only in it."""
    root = tmp_path_factory.mktemp("compare")
    small = make_cells(imbalances=(1, 10), noise_rates=(0.4,))
    write_grid(root, small)
    for cell, accuracy in zip(small, (80, 90, 84, 92, 60, 75, 62, 79), strict=True):
        finish(root, cell, accuracy)
    methods = [CROSS, {"name": "curvenet"}, {"name": "focal"}]
    long = make_cells(methods, imbalances=(1, 10), noise_rates=(0.4,), allocate=LATER)
    write_grid(root, long, "long")
    values = (81, 90, 1, 86, 92, 1, 63, 75, 1, 66, 79, 1)
    for cell, accuracy in list(zip(long, values, strict=True))[:-2]:
        finish(root, cell, accuracy)
    return root


def record(rows: Any, method: str) -> dict[str, Any]:
    return next(dict(row) for row in rows if row["method"] == method)


def test_two_grids_are_compared_cell_by_cell(storage: Path) -> None:
    found = compare_grids(storage, "small", "long", "last")
    cross = record(found.records, "cross-entropy")
    differences = [1.0, 2.0, 3.0, 4.0]
    assert cross["difference"] == pytest.approx(2.5)
    assert cross["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    low, high = stats.t.interval(0.95, 3, loc=2.5, scale=stats.sem(differences))
    assert (cross["low"], cross["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (cross["pairs"], cross["pairs_wanted"]) == (4, 4)


def test_a_missing_cell_costs_its_pair_and_is_counted(storage: Path) -> None:
    found = compare_grids(storage, "small", "long", "last")
    curve = record(found.records, "curvenet")
    assert (curve["pairs"], curve["pairs_wanted"], curve["difference"]) == (3, 4, 0.0)
    assert "3/4" in found.sheets[0].rows[1]
    assert any("lack pairs" in note for note in found.notes)


def test_it_says_what_the_configs_differ_in_and_what_only_one_has(storage: Path) -> None:
    found = compare_grids(storage, "small", "long", "last")
    assert found.records[0]["differs"]["allocate.epochs"] == [4, 6]
    assert "seed" not in found.records[0]["differs"]
    assert any("allocate.epochs: 4 against 6" in note for note in found.notes)
    assert "only in long: focal" in found.notes


def test_a_method_whose_option_was_changed_is_still_the_same_method(tmp_path: Path) -> None:
    for name, layers in (("a", 0), ("b", 2)):
        method = {"name": "curvenet", "skip_layers": layers}
        cells = make_cells([method], seeds=(0,), imbalances=(1,))
        write_grid(tmp_path, cells, name)
        for cell in cells:
            finish(tmp_path, cell, 80 + layers)
    found = compare_grids(tmp_path, "a", "b", "last")
    assert found.records[0]["difference"] == 2
    assert found.records[0]["differs"] == {"method.skip_layers": [0, 2]}


def test_grids_without_a_cell_in_common_are_refused_with_what_they_have(
    storage: Path, tmp_path: Path
) -> None:
    write_grid(tmp_path, make_cells([CROSS], imbalances=(1,)), "a")
    write_grid(tmp_path, make_cells([CROSS], imbalances=(10,)), "b")
    with pytest.raises(ConfigError, match=r"no setting and seed in common.*imbalance 10"):
        compare_grids(tmp_path, "a", "b", "last")
    write_grid(tmp_path, make_cells([{"name": "focal"}], imbalances=(1,)), "c")
    with pytest.raises(ConfigError, match=r"no method in common"):
        compare_grids(tmp_path, "a", "c", "last")


def test_two_methods_of_a_grid_are_compared_overall_and_per_setting(storage: Path) -> None:
    whole, first, second = compare_methods(
        storage, "small", "cross-entropy", "curvenet", "last"
    ).records
    assert (whole["setting"], whole["difference"], whole["pairs"]) == (None, 12.5, 4)
    assert (first["setting"], first["difference"]) == ("imbalance 1, noise 0.4", 9)
    assert (second["setting"], second["difference"]) == ("imbalance 10, noise 0.4", 16)


def test_a_method_is_not_compared_with_itself_or_with_none(storage: Path) -> None:
    with pytest.raises(ConfigError, match="twice"):
        compare_methods(storage, "small", "curvenet", "curvenet", "last")
    with pytest.raises(ConfigError, match="no method of grid small"):
        compare_methods(storage, "small", "curvenet", "focal", "last")


def test_the_command_prints_tables_and_json(storage: Path) -> None:
    where = ["--storage", str(storage)]
    shown = CliRunner().invoke(app, ["compare", "small", "long", *where])
    assert shown.exit_code == 0
    assert "+2.50" in shown.stdout
    for option in ("--in", "--grid"):
        command = ["compare", "cross-entropy", "curvenet", option, "small", *where, "--json"]
        found = json.loads(CliRunner().invoke(app, command).stdout)
        assert (found["schema_version"], found["table"], found["grid"]) == (1, "compare", "small")
        assert found["rows"][0]["difference"] == 12.5
