import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.analysis.bootstrap import hierarchical_interval
from curvetune.analysis.seeds_needed import seeds_needed
from curvetune.analysis.significance import compare, holm
from curvetune.cli import app
from curvetune.errors import ConfigError
from curvetune.grids.cells import read_grid
from curvetune.report.document import FORMS, Document
from curvetune.report.sheet import Sheet
from curvetune.report.tables.detail import table

METHODS: list[dict[str, Any]] = [{"name": n} for n in ("cross-entropy", "focal", "ldam-drw")]


def test_only_pairs_that_both_have_are_compared() -> None:
    a = {("s", 0): 70.0, ("s", 1): 72.0, ("s", 2): 71.0, ("t", 0): 50.0}
    b = {("s", 0): 71.0, ("s", 1): 75.0, ("s", 2): 71.0, ("u", 0): 90.0}
    found = compare("a", "b", a, b, wanted=4)
    assert (found.n, found.wanted, found.differing) == (3, 4, 2)
    assert found.difference == pytest.approx(4 / 3)
    expected = stats.t.interval(0.95, 2, loc=4 / 3, scale=stats.sem([1.0, 3.0, 0.0]))
    assert found.interval == pytest.approx(expected)
    assert compare("a", "b", a, {}).difference is None


def test_the_interval_of_a_difference_ends_where_differences_end() -> None:
    a = {(k, 0): 0.0 for k in range(3)}
    b = {(0, 0): 100.0, (1, 0): 99.0, (2, 0): 0.0}
    low, high = compare("a", "b", a, b).interval or (0, 0)
    assert -100 < low < 0  # not cut at 0, where accuracies end
    assert high == 100


def test_holms_correction_by_hand() -> None:
    # sorted: .01 × 4, .02 × 3, .03 × 2 (not less than the one before), .5 × 1
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 methods, 4 settings, 2 seeds; focal is always 1 to 8 points better, one cell is missing."""
    root = tmp_path_factory.mktemp("significance")
    cells = make_cells(METHODS)
    write_grid(root, cells)
    for k, cell in enumerate(cells[:-1]):
        place, method = divmod(k, 3)
        finish(root, cell, 60 + place + (0, place + 1, -5)[method])
    return root


def test_the_table_compares_each_method_with_cross_entropy(storage: Path) -> None:
    found = table(storage, read_grid(storage, "small"), "significance", "last")
    focal, ldam = found.records
    assert (focal["method"], focal["than"], focal["pairs"]) == ("focal", "cross-entropy", 8)
    assert focal["difference"] == pytest.approx(np.mean(range(1, 9)))
    assert focal["p"] == pytest.approx(2 / 2**8)
    assert focal["p_holm"] == pytest.approx(2 * 2 / 2**8)
    assert (ldam["pairs"], ldam["pairs_wanted"], ldam["difference"]) == (7, 8, pytest.approx(-5))
    assert "7/8" in found.sheets[0].rows[1]
    assert any("lack pairs" in note for note in found.notes)


def test_with_settings_as_units_the_seeds_of_each_are_averaged_first(storage: Path) -> None:
    grid = read_grid(storage, "small")
    found = table(storage, grid, "significance", "last", "ldam-drw", unit="setting")
    focal = next(row for row in found.records if row["method"] == "focal")
    # in pair k focal is k + 1 above cross entropy and ldam-drw 5 below; the last pair lacks
    means = [np.mean([6, 7]), np.mean([8, 9]), np.mean([10, 11]), 12]
    assert focal["difference"] == pytest.approx(np.mean(means))
    assert focal["p"] == pytest.approx(stats.wilcoxon(means).pvalue) == 0.125
    expected = stats.t.interval(0.95, 3, loc=np.mean(means), scale=stats.sem(means))
    assert (focal["low"], focal["high"]) == pytest.approx(expected)
    assert (focal["unit"], focal["pairs"], focal["pairs_wanted"]) == ("setting", 4, 4)
    assert not focal["holds"]
    assert "settings" in (title for (title, *_) in found.sheets[0].header)
    assert any("it cannot be below 0.125" in note for note in found.notes)


def test_an_effect_size_and_an_interval_over_settings_stand_beside_each_p(storage: Path) -> None:
    found = table(storage, read_grid(storage, "small"), "significance", "last")
    focal, ldam = found.records
    assert (focal["effect"], ldam["effect"]) == (1.0, -1.0)
    interval = hierarchical_interval([[1, 2], [3, 4], [5, 6], [7, 8]])
    assert (focal["low_over_settings"], focal["high_over_settings"]) == interval
    assert {"over settings", "effect", "more seeds"} <= {t for (t, *_) in found.sheets[0].header}
    assert any("--unit setting gives that p" in note for note in found.notes)


def test_the_effect_size_is_the_share_of_ranks_for_less_that_against() -> None:
    # ranks of 1, -2, 3, 4: 1 + 3 + 4 for, 2 against
    places = {(k, 0): 0.0 for k in range(5)}
    gains = dict(zip(places, [1.0, -2.0, 3.0, 4.0, 0.0], strict=True))
    assert compare("a", "b", places, gains).effect == pytest.approx((8 - 2) / 10)
    assert compare("a", "b", places, places).effect is None


def test_seeds_that_are_still_needed_are_those_of_a_paired_t_test_over_seeds() -> None:
    seeds = [1.0, 2.0, 4.0]
    low = {(setting, seed): 50.0 for setting in "st" for seed in range(3)}
    high = {(s, seed): 50 + seeds[seed] + (1 if s == "s" else -1) for s, seed in low}
    found = compare("a", "b", low, high)
    assert found.more_seeds == (seeds_needed(seeds) or 0) - 3
    assert compare("a", "b", low, {("s", 0): 51.0}).more_seeds is None


def test_equal_pairs_are_counted_apart_and_the_note_is_about_the_others(tmp_path: Path) -> None:
    cells = make_cells(METHODS[:2])
    write_grid(tmp_path, cells)
    for k, cell in enumerate(cells):
        finish(tmp_path, cell, 60 + k // 2 + (k % 2) * (1 if k < 6 else 0))
    found = table(tmp_path, read_grid(tmp_path, "small"), "significance", "last")
    (focal,) = found.records
    assert (focal["pairs"], focal["pairs_differing"], focal["p"]) == (8, 3, 0.25)
    assert any("only 3 differ, it cannot be below 0.25" in note for note in found.notes)


def test_another_reference_or_all_pairs_can_be_asked_for(storage: Path) -> None:
    grid = read_grid(storage, "small")
    than = {r["than"] for r in table(storage, grid, "significance", "last", "focal").records}
    assert than == {"focal"}
    assert len(table(storage, grid, "significance", "last", "all").records) == 3
    with pytest.raises(ConfigError, match=r"no method of grid small.*did you mean 'focal'"):
        table(storage, grid, "significance", "last", "focl")


def test_the_table_of_seeds_has_a_column_per_seed_and_counts_what_is_missing(storage: Path) -> None:
    found = table(storage, read_grid(storage, "small"), "seeds", "last")
    assert len(found.records) == 3 * 4
    last = next(r for r in found.records if r["method"] == "ldam-drw" and r["seeds_done"] == 1)
    assert (last["seed_0"], last["seed_1"], last["std"], last["low"]) == (61.0, None, None, None)
    assert any("1/2" in row for row in found.sheets[0].rows)


def test_an_unknown_table_is_refused(storage: Path) -> None:
    with pytest.raises(
        ConfigError, match="'seed': allowed are ma, cells, seeds, classes, significance"
    ):
        table(storage, read_grid(storage, "small"), "seed", "last")


def run(*args: str) -> str:
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ["MA", "cells", "seeds", "significance"])
def test_every_table_has_every_form(storage: Path, name: str) -> None:
    common = ("report", "small", "--storage", str(storage), "--table", name)
    rows = json.loads(run(*common, "--json"))
    assert (rows["schema_version"], rows["table"], rows["grid"]) == (1, name, "small")
    assert run(*common, "--format", "json") == run(*common, "--json")
    lines = list(csv.DictReader(io.StringIO(run(*common, "--format", "csv"))))
    assert len(lines) == len(rows["rows"])
    assert [line["method"] for line in lines] == [row["method"] for row in rows["rows"]]
    assert "| focal |" in run(*common, "--format", "markdown")
    assert r"\toprule" in run(*common, "--format", "latex")
    assert "</table>" in run(*common, "--format", "html")
    assert "focal" in run(*common)


def test_the_default_report_has_json_and_html_forms_too(storage: Path) -> None:
    common = ("report", "small", "--storage", str(storage))
    report = json.loads(run(*common, "--json"))
    assert json.loads(run(*common, "--format", "json")) == report
    assert report["methods"][0]["ma_interval"] is None  # of two seeds
    assert run(*common, "--format", "html").count("<table>") == 2


def test_options_that_contradict_each_other_are_refused(storage: Path) -> None:
    common = ["report", "small", "--storage", str(storage)]
    for extra in (
        ["--table", "MA", "--paper", "1"],
        ["--against", "focal"],
        ["--unit", "setting"],
        ["--table", "significance", "--unit", "seed"],
    ):
        result = CliRunner().invoke(app, [*common, *extra])
        assert isinstance(result.exception, ConfigError)


def test_what_a_storage_says_is_text_in_every_form() -> None:
    evil = "<script>alert(1)</script> & $x$ | \\evil"
    sheet = Sheet(evil, (("a",), (evil,)), ((evil, evil),), frozenset({(0, 1)}))
    found = Document("MA", evil, (sheet,), ({"method": evil},), (evil,))
    for form in ("html", "markdown"):
        assert "<script>" not in FORMS[form](found)
    assert r"\evil" not in FORMS["latex"](found).split(r"\begin{table}")[1].replace(
        r"\textbackslash{}evil", ""
    )
    assert json.loads(FORMS["json"](found))["rows"] == [{"method": evil}]
