"""`curvetune tune --budget`: trials, or time of a device; the same storage decides the same."""

from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import DIGEST, EPOCHS, SECONDS, make_cells
from test_tune import METHODS, Runs, options_of, search, tune, tuning_of
from test_tune_asha import Climbs, few_cells, of

from curvetune.errors import ConfigError
from curvetune.store import CellStore
from curvetune.tuning.budget import parse_budget
from curvetune.tuning.contest import MOST_TRIALS, Budget, Tuning
from curvetune.tuning.proposals import ROUND
from curvetune.tuning.scores import results_of
from curvetune.tuning.show import notes, results_json

TRIAL = 2 * EPOCHS * SECONDS  # seconds of a trial, which is two seeds


def timed(seconds: float, **more: Any) -> Tuning:
    return tuning_of(MOST_TRIALS, seconds=seconds, **{"cells": few_cells()} | more)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20", Budget(20)),
        ("30m", Budget(MOST_TRIALS, 1800.0)),
        ("2h", Budget(MOST_TRIALS, 7200.0)),
        ("900s", Budget(MOST_TRIALS, 900.0)),
        ("1.5h", Budget(MOST_TRIALS, 5400.0)),
    ],
)
def test_a_number_is_trials_and_one_with_a_unit_is_time(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["0s", "-3", "nan", "inf", "1.5", "1e9s", "many", "", "3w"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget .*: allowed are .*--budget 20, --budget 900s"):
        parse_budget(text)


def test_each_method_goes_on_until_it_has_used_its_time_and_ends_its_round(tmp_path: Path) -> None:
    tuning = timed(5.5 * TRIAL)
    ended = search(tuning, runs := Runs(tmp_path))
    counts = {one.tuned.method: len(one.trials) for one in ended.searched}
    assert counts == {"cross-entropy": 1, "gce": 2 * ROUND, "elr": 2 * ROUND}
    assert of(ended, "gce").seconds == 8 * TRIAL
    ran = len(runs.ran)
    assert search(tuning, runs).searched == ended.searched
    assert len(runs.ran) == ran
    assert (
        options_of(ended)["gce"] == options_of(search(tuning_of(8, cells=few_cells()), runs))["gce"]
    )


def test_more_time_adds_trials_and_a_kill_moves_none(tmp_path: Path) -> None:
    whole = search(timed(9 * TRIAL), Runs(tmp_path / "one"))
    runs = Runs(tmp_path / "two")
    for runs.ends_after in (5, 14):
        with pytest.raises(KeyboardInterrupt):
            search(timed(3 * TRIAL), runs)
    runs.ends_after = 10**6
    assert len(of(search(timed(3 * TRIAL), runs), "elr").trials) == ROUND
    assert search(timed(9 * TRIAL), runs).searched == whole.searched
    assert len({cell.model_dump_json() for cell in runs.ran}) == len(runs.ran)


def test_trials_that_time_is_likely_enough_for_run_at_once(tmp_path: Path) -> None:
    cells = [cell for cell in few_cells() if cell.method.name == "gce"]
    ended = search(timed(24 * TRIAL, cells=cells), runs := Runs(tmp_path))
    assert len(of(ended, "gce").trials) == 24
    assert [len(plan.left) / 2 for plan in runs.plans] == [ROUND, 16, 4]  # two seeds


def test_a_method_without_more_points_ends_and_says_what_it_used(tmp_path: Path) -> None:
    cells = make_cells(({"name": "co-teaching"},), noise_rates=(0.4,), seeds=(0,))
    for kind in ("random", "grid"):
        tuning = timed(1000 * TRIAL, cells=cells, search=kind)
        ended = search(tuning, Runs(tmp_path))
        one = of(ended, "co-teaching")
        assert one.distinct == 3  # all values of its exponent
        lines = notes(tuning, results_of(tuning, ended.searched, CellStore(tmp_path)))
        assert any(line.startswith("co-teaching: 3 different trials used ") for line in lines)


def test_a_probe_is_counted_once_for_each_method(tmp_path: Path) -> None:
    cells = make_cells((*METHODS[1:2], {"name": "curvenet"}), noise_rates=(0.4,), seeds=(0,))
    ended = search(tuning_of(3, cells=cells), Runs(tmp_path))
    two = 2 * EPOCHS * SECONDS  # settings
    assert of(ended, "gce").seconds == 3 * two
    assert of(ended, "curvenet").seconds == 3 * two + two
    assert len({cell.probe_id(DIGEST) for cell in of(ended, "curvenet").outcomes.cells}) == 2


def test_the_json_has_the_time_and_stopped_trials_use_less_of_it(tmp_path: Path) -> None:
    asha = timed(5 * TRIAL, scheduler="asha", reduction=2)
    ended = search(asha, Climbs(tmp_path / "asha"))
    assert len(of(ended, "gce").trials) > ROUND
    assert search(asha, Climbs(tmp_path / "again")).searched == ended.searched
    found = results_json(asha, results_of(asha, ended.searched, CellStore(tmp_path / "asha")))
    assert (found["budget"], found["budget_seconds"]) == (None, 5 * TRIAL)
    assert all(one["device_seconds"] >= 5 * TRIAL for one in found["methods"][1:])


def test_a_dry_run_of_a_time_says_so(tmp_path: Path) -> None:
    words = ("--methods", "gce", "--seeds", "0", "--budget", "30m", "--dry-run")
    done = tune("digits", *words, "--storage", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "each method goes on, 4 trials at a time, until it has used 30 min" in done.stdout
