"""`curvetune tune --search optuna`: what it proposes follows from what was found, and is kept."""

import sys
from pathlib import Path
from typing import Any

import pytest
from test_tune import Runs, options_of, search, tuning_of
from test_tune_asha import Climbs, asha_of, few_cells, of

from curvetune.errors import ConfigError
from curvetune.store import CellStore
from curvetune.tuning.outcomes import Trial
from curvetune.tuning.proposals import ROUND, _told, expected, rounds


def test_a_round_begins_at_the_same_trials_whatever_the_budget() -> None:
    assert rounds(tuning_of(10, search="optuna")) == [ROUND, 2 * ROUND, 10]
    assert rounds(tuning_of(ROUND, search="optuna")) == [ROUND]
    assert rounds(tuning_of(10)) == [10]


def test_a_search_without_optuna_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'curvetune\[optuna\]'; allowed without"):
        search(tuning_of(2, search="optuna"), Runs(tmp_path))
    tuning = tuning_of(3, search="optuna")
    assert len(expected(tuning, tuning.methods[1], tmp_path)) == 3  # a price needs none


def needs_optuna() -> Any:
    return pytest.importorskip("optuna", reason="the extra [optuna] is not installed")


def test_a_search_that_is_extended_is_the_one_with_that_budget(tmp_path: Path) -> None:
    needs_optuna()
    runs = Runs(tmp_path / "one")
    ten = options_of(search(tuning_of(10, search="optuna"), runs))
    fifteen = options_of(search(tuning_of(15, search="optuna"), runs))
    assert {name: trials[:10] for name, trials in fifteen.items()} == ten
    assert len({cell.model_dump_json() for cell in runs.ran}) == len(runs.ran)
    at_once = search(tuning_of(15, search="optuna"), Runs(tmp_path / "other"))
    assert options_of(at_once) == fifteen
    assert all(0.1 <= trial["loss_power"] <= 1 for trial in fifteen["gce"][1:])


def test_a_search_that_was_killed_in_a_round_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    needs_optuna()
    runs = Runs(tmp_path / "one")
    runs.ends_after = 4 * (1 + 4 + 4) + 3
    with pytest.raises(KeyboardInterrupt):
        search(tuning_of(9, search="optuna"), runs)
    runs.ends_after = 10**6
    undisturbed = search(tuning_of(9, search="optuna"), Runs(tmp_path / "other"))
    assert options_of(search(tuning_of(9, search="optuna"), runs)) == options_of(undisturbed)


def test_what_it_proposes_follows_from_what_was_found(tmp_path: Path) -> None:
    needs_optuna()

    def high(cell: Any) -> float:
        return 100.0 * getattr(cell.method, "loss_power", 0.7)

    def low(cell: Any) -> float:
        return 100.0 - high(cell)

    found = {}
    for name, accuracy in (("high", high), ("low", low)):
        runs = Runs(tmp_path / name, accuracy)
        ended = search(tuning_of(28, search="optuna"), runs)
        found[name] = [trial["loss_power"] for trial in options_of(ended)["gce"][1:]]
    assert found["high"][: ROUND - 1] == found["low"][: ROUND - 1]
    late = {name: sum(values[-12:]) / 12 for name, values in found.items()}
    assert late["high"] > late["low"] + 0.2
    assert not CellStore(tmp_path / "low").grids()  # nothing but cells and trials was written


def test_with_a_scheduler_the_search_is_another_one_and_steps_do_not_matter(tmp_path: Path) -> None:
    needs_optuna()
    twelve = search(asha_of(12, search="optuna"), Climbs(tmp_path / "one"))
    runs = Climbs(tmp_path / "two")
    runs.ends_after = 45
    with pytest.raises(KeyboardInterrupt):
        search(asha_of(8, search="optuna"), runs)
    runs.ends_after = 10**6
    search(asha_of(8, search="optuna"), runs)
    assert search(asha_of(12, search="optuna"), runs).searched == twelve.searched
    assert any(trial.is_stopped for trial in of(twelve, "gce").trials)
    plain = search(tuning_of(12, search="optuna", cells=few_cells()), Runs(tmp_path / "two"))
    assert len(list((tmp_path / "two" / "tunings").iterdir())) == 2 * 3
    assert options_of(plain)["gce"][:ROUND] == options_of(twelve)["gce"][:ROUND]


def test_optuna_hears_of_a_stopped_trial_as_pruned_with_what_it_came_to() -> None:
    optuna = needs_optuna()
    ranges = {"a": optuna.distributions.FloatDistribution(0.0, 1.0)}
    stopped = Trial({"a": 0.5}, None, has_diverged=False, rungs={1: 40.0, 2: 45.0}, is_stopped=True)
    whole = Trial({"a": 0.5}, 60.0, has_diverged=False, rungs={1: 40.0, 4: 60.0})
    told = [_told(optuna, one, {"a": 0.5}, ranges) for one in (stopped, whole)]
    assert [one.state.name for one in told] == ["PRUNED", "COMPLETE"]
    assert [one.intermediate_values for one in told] == [{1: 40.0, 2: 45.0}, {1: 40.0, 4: 60.0}]
    assert [one.value for one in told] == [None, 60.0]
