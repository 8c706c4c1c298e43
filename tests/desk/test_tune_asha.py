"""`curvetune tune --scheduler asha`: what is stopped, what is found, and what goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from storage_fixtures import (
    DIGEST,
    EPOCHS,
    SECONDS,
    add_epochs,
    finish,
    make_cells,
    write_grid,
)
from test_tune import METHODS, Runs, options_of, places_of, real_cells, search, tune, tuning_of
from typer.testing import CliRunner

from curvetune import data
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.errors import PausedError
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import read_grid
from curvetune.planning.plan import Plan
from curvetune.run import Outcome
from curvetune.store import CellStore
from curvetune.store.files import write_json
from curvetune.tuning.contest import Tuning
from curvetune.tuning.cost import share_of_epochs
from curvetune.tuning.rungs import goals
from curvetune.tuning.scores import Searched, results_of
from curvetune.tuning.search import Ended, run_search
from curvetune.tuning.show import notes, results_json


def asha_of(budget: int = 9, **more: Any) -> Tuning:
    """Of 4 epochs, trials are judged after 1 and after 2."""
    given: dict[str, Any] = {"scheduler": "asha", "reduction": 2, "cells": few_cells()}
    return tuning_of(budget, **given | more)


def few_cells() -> list[CellConfig]:
    """Two seeds of one setting."""
    return make_cells(METHODS, imbalances=(10,), noise_rates=(0.4,), seeds=(0, 1))


class Climbs(Runs):
    """Runs plans up to where cells pause, in the order of the plan or backwards."""

    backwards = False

    def __call__(self, plan: Plan) -> Outcome:
        for cell in reversed(plan.left) if self.backwards else plan.left:
            if len(self.ran) == self.ends_after:
                raise KeyboardInterrupt
            until = plan.until.get(cell.cell_id)
            if until is None or np.isnan(self.accuracy(cell.config)):
                super().__call__(Plan(plan.name, plan.digest, (cell,), ()))
                self.plans.pop()
                continue
            self.ran.append(cell.config)
            has = len(CellStore(self.root).history(cell.cell_id))
            accuracy = self.accuracy(cell.config)
            add_epochs(self.root, cell.config, until - has, accuracy=accuracy)
            write_json(CellStore(self.root).folder(cell.cell_id) / "PAUSED.json", {})
        self.plans.append(plan)
        lacking = [c for c in plan.left if not plan.has_come(c.cell_id, CellStore(self.root))]
        return Outcome(True, False, tuple(lacking))


def of(ended: Ended, name: str) -> Searched:
    return next(one for one in ended.searched if one.tuned.method == name)


def test_a_trial_is_stopped_unless_it_is_among_the_best_of_its_rung(tmp_path: Path) -> None:
    ended = search(asha_of(), runs := Climbs(tmp_path))
    gce = of(ended, "gce")
    power = [trial.options.get("loss_power", 0.7) for trial in gce.trials]
    value = [60.5 - 10 * abs(p - 0.3) for p in power]
    aims = goals(9, 3, 2, lambda trial, _: value[trial])
    assert [trial.is_stopped for trial in gce.trials] == [aim < 2 for aim in aims]
    assert gce.ended == aims.count(2) < 9
    for trial, aim, mean in zip(gce.trials, aims, value, strict=True):
        assert trial.rungs == pytest.approx(dict.fromkeys((1, 2, 4)[: aim + 1], mean))
        assert (trial.accuracy is None) == (aim < 2)
    assert gce.winner.accuracy == max(t.accuracy for t in gce.trials if t.accuracy is not None)
    assert gce.best_so_far[0] == gce.trials[0].accuracy
    store = CellStore(tmp_path)
    epochs = {
        len(store.history(cell.cell_id(DIGEST)))
        for trial, aim in zip(gce.trials, aims, strict=True)
        for cell in asha_of().trial(gce.tuned, trial.options)
        if aim == 0
    }
    assert epochs == {1}
    assert len(runs.plans) == 3  # up to each rung
    assert ended.is_whole


def test_one_without_ranges_and_the_default_are_whole(tmp_path: Path) -> None:
    ended = search(asha_of(), Climbs(tmp_path))
    assert [trial.is_stopped for trial in of(ended, "cross-entropy").trials] == [False]
    assert not any(one.trials[0].is_stopped for one in ended.searched)
    assert of(ended, "elr").best == 0


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_what_is_found_does_not_depend_on_order_kills_or_steps(tmp_path: Path, kind: Any) -> None:
    whole = search(asha_of(9, search=kind), Climbs(tmp_path / "one"))
    runs = Climbs(tmp_path / "two")
    runs.backwards = True
    for runs.ends_after in (3, 20, 29):  # in the first rung, and later
        with pytest.raises(KeyboardInterrupt):
            search(asha_of(6, search=kind), runs)
    runs.ends_after = 10**6
    search(asha_of(6, search=kind), runs)
    assert search(asha_of(9, search=kind), runs).searched == whole.searched
    plain = tuning_of(9, search=kind, cells=few_cells())
    assert options_of(whole) == options_of(search(plain, Runs(tmp_path / "three")))


def test_cells_are_shared_with_a_search_that_stops_nothing(tmp_path: Path) -> None:
    alone = search(asha_of(), Climbs(tmp_path / "alone"))
    runs = Climbs(tmp_path / "both")
    plain = search(tuning_of(9, cells=few_cells()), runs)
    ran = len(runs.ran)
    found = search(asha_of(), runs)
    assert len(runs.ran) == ran  # nothing more to run
    for name in ("gce", "elr"):
        stopped = [trial.is_stopped for trial in of(found, name).trials]
        assert stopped == [trial.is_stopped for trial in of(alone, name).trials]
        assert of(found, name).winner.options == of(plain, name).winner.options


def test_a_trial_that_diverges_goes_no_further(tmp_path: Path) -> None:
    def accuracy(cell: CellConfig) -> float:
        power = getattr(cell.method, "loss_power", 0.7)
        return float("nan") if 0.2 < power < 0.5 else 50.0 + power

    ended = search(asha_of(12), Climbs(tmp_path, accuracy))
    assert ended.is_whole
    gce = of(ended, "gce")
    bad = [t for t in gce.trials if 0.2 < t.options.get("loss_power", 0.7) < 0.5]
    assert bad
    assert all(t.has_diverged and t.accuracy == 0.0 and not t.rungs for t in bad)
    assert gce.ended == sum(t.accuracy is not None for t in gce.trials if not t.has_diverged)


def test_the_table_and_the_json_say_who_ran_to_the_end_and_how_far_others_came(
    tmp_path: Path,
) -> None:
    tuning = asha_of()
    ended = search(tuning, Climbs(tmp_path))
    results = results_of(tuning, ended.searched, CellStore(tmp_path))
    lines = notes(tuning, results)
    assert "gce: trials are judged after 1 and 2 of 4 epochs; one in 2 goes on." in lines
    found = results_json(tuning, results)
    assert (found["scheduler"], found["reduction"]) == ("asha", 2)
    gce = next(one for one in found["methods"] if one["method"] == "gce")
    assert gce["trials_ended"] == sum(not trial["stopped"] for trial in gce["trials"]) < 9
    for trial in gce["trials"]:
        assert [rung["epochs"] for rung in trial["rungs"]] in ([1], [1, 2], [1, 2, 4])
        assert trial["stopped"] == (trial["validation"] is None) == (len(trial["rungs"]) < 3)
    epochs = sum(trial["rungs"][-1]["epochs"] for trial in gce["trials"])
    assert gce["device_seconds"] == epochs * 2 * SECONDS  # seeds


def test_too_few_epochs_stop_nothing_and_this_is_said(tmp_path: Path) -> None:
    short = {"epochs": 1, "warmup": 0, "milestones": []}
    cells = make_cells(METHODS[1:2], noise_rates=(0.4,), seeds=(0,), allocate=short)
    tuning = asha_of(5, cells=cells)
    ended = search(tuning, Runs(tmp_path))
    assert of(ended, "gce").ended == 5
    lines = notes(tuning, results_of(tuning, ended.searched, CellStore(tmp_path)))
    assert "gce: 1 epoch is too few to stop a trial early, so each is whole." in lines


def test_a_dry_run_says_which_share_of_the_epochs_is_run(tmp_path: Path) -> None:
    words = ("--methods", "gce", "--seeds", "0", "--budget", "20", "--scheduler", "asha")
    done = tune("digits", *words, "--dry-run", "--storage", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "gce: trials are judged after " in done.stderr
    assert "% of these epochs are run" in done.stdout
    tuning = asha_of(20)
    share = share_of_epochs(tuning, [(tuning.methods[1], 20)])
    least = (20 * 1 + 10 * 1 + 5 * 2) / (20 * EPOCHS)  # exactly one in 2 promoted
    assert least < share < 2 * least
    assert share_of_epochs(tuning_of(20), [(tuning.methods[1], 20)]) == 1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheduler", "hyperband"), "--scheduler 'hyperband': allowed are none, asha"),
        (("--reduction", "4"), "--reduction 4: is of --scheduler asha"),
        (("--scheduler", "asha", "--reduction", "1"), "--reduction 1: allowed is at least 2"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = tune("digits", "--budget", "3", *words, "--storage", str(tmp_path))
    assert done.exit_code != 0
    assert said in str(done.exception)


def test_real_cells_come_to_the_end_with_the_numbers_of_a_search_without_a_scheduler(
    tmp_path: Path,
) -> None:
    dataset, digest = data.load("digits"), data.digest("digits")
    cells = [cell for cell in real_cells() if cell.method.name == "gce"]
    found = {}
    for name, scheduler in (("plain", "none"), ("asha", "asha")):
        root = tmp_path / name
        tuning = tuning_of(
            5, cells=cells, digest=digest, validation=0.2, scheduler=scheduler, reduction=2
        )

        def run(plan: Plan, root: Path = root) -> Outcome:
            for cell in plan.left:
                until = plan.until.get(cell.cell_id)
                try:
                    run_cell(
                        cell.config, digest, dataset, root, device=torch.device("cpu"), until=until
                    )
                except PausedError:
                    assert until == 1
            return Outcome(True, False, ())

        found[name] = run_search(tuning, places_of(root), run, lambda _: None).searched[0]
    plain, asha = found["plain"], found["asha"]
    assert 1 < asha.ended < 5
    assert [t.options for t in plain.trials] == [t.options for t in asha.trials]
    for trial, whole in zip(asha.trials, plain.trials, strict=True):
        assert trial.is_stopped or trial.accuracy == whole.accuracy
    rows = [len(CellStore(tmp_path / "asha").history(cell)) for cell in asha.outcomes.until]
    assert rows == [1] * (5 - asha.ended)


def test_status_and_report_of_the_search_tell_of_trials_that_were_stopped(tmp_path: Path) -> None:
    tuning = asha_of(6)
    ended = search(tuning, runs := Climbs(tmp_path))
    write_grid(tmp_path, [cell.config for cell in runs.plans[-1].cells], "small-tuning")
    assert any(one.ended < len(one.trials) for one in ended.searched)

    def shown(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--storage", str(tmp_path)])

    status = shown("status", "small-tuning", "--json")
    counts = json.loads(status.stdout)["counts"]
    assert counts["paused"] > 0
    assert counts["failed"] == counts["running"] == counts["stale"] == counts["waiting"] == 0
    assert f"{counts['paused']} paused" in " ".join(shown("report", "small-tuning").stdout.split())
    cell = next(
        cell.cell_id
        for cell in runs.plans[-1].cells
        if CellStore(tmp_path).result(cell.cell_id) is None
    )
    assert "paused: at allocate " in shown("why", cell).stdout
    assert "paused" in shown("status").stdout


def test_a_scheduler_is_another_search_only_where_it_decides_what_is_proposed() -> None:
    for kind in ("random", "grid"):
        plain, asha = tuning_of(search=kind, cells=few_cells()), asha_of(search=kind)
        assert asha.identity(asha.methods[1]) == plain.identity(plain.methods[1])
    plain = tuning_of(search="optuna", cells=few_cells())
    keys = {"method", "search", "seed", "ranges", "cells"}  # as it was before there were schedulers
    assert plain.identity(plain.methods[1]).keys() == keys
    asha = asha_of(search="optuna")
    more = {"scheduler": "asha", "reduction": 2}
    assert asha.identity(asha.methods[1]) == plain.identity(plain.methods[1]) | more


def test_the_time_that_is_left_is_that_up_to_where_cells_pause(tmp_path: Path) -> None:
    done, running, paused, waiting = make_cells(METHODS[1:2], seeds=(0, 1), noise_rates=(0.4,))
    finish(tmp_path, done, 50.0)
    add_epochs(tmp_path, running, 1)  # news of just now, and no lease: it runs
    add_epochs(tmp_path, paused, 1)
    write_json(CellStore(tmp_path).folder(paused.cell_id(DIGEST)) / "PAUSED.json", {})
    write_grid(tmp_path, [done, running, paused, waiting])
    grid = read_grid(tmp_path, "small")
    assert [cell.state for cell in grid.cells] == ["done", "running", "paused", "waiting"]
    (news,) = [cell.activity.news for cell in grid.cells[1:2] if cell.activity]
    ids = [cell.cell_id for cell in grid.cells]
    until = {ids[1]: 2, ids[3]: 1}  # and the paused one goes to its end
    left = grid_progress(grid, news, until).seconds_left
    assert left == pytest.approx((1 + 3 + 1) * SECONDS)
    whole = grid_progress(grid, news).seconds_left  # nobody says that the paused one goes on
    assert whole == pytest.approx((3 + 4) * SECONDS)
