"""`curvetune tune`: the same trials for every method; the test set is read at the end alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune import data
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.data.source import Dataset, Images
from curvetune.errors import ConfigError
from curvetune.places import Places
from curvetune.planning.plan import Plan
from curvetune.planning.space import Space, load_space
from curvetune.run import Outcome
from curvetune.store import CellStore
from curvetune.tuning.contest import Tuning, tuned_methods
from curvetune.tuning.files import check_figure_file, check_space_file
from curvetune.tuning.scores import results_of
from curvetune.tuning.search import Ended, run_final, run_search
from curvetune.tuning.show import figure_file
from curvetune.tuning.winners import winners_space

METHODS = ({"name": "cross-entropy"}, {"name": "gce"}, {"name": "elr"})


def tuning_of(budget: int = 4, *, search: Any = "random", cells: Any = None, **more: Any) -> Tuning:
    cells = make_cells(METHODS, noise_rates=(0.4,), seeds=(0, 1)) if cells is None else cells
    space = Space("small", tuple(cells))
    given = {"digest": DIGEST, "validation": 0.1, "seed": 0, "test_seeds": 2} | more
    return Tuning(space=space, methods=tuned_methods(cells), search=search, budget=budget, **given)


def accuracy_of(cell: CellConfig) -> float:
    """What a cell comes to here: GCE is best at 0.3, ELR at its default."""
    method = cell.method.model_dump()
    wrong = abs(method.get("loss_power", 0.3) - 0.3) + abs(method.get("hold", 3.0) - 3.0)
    return 60.0 - 10.0 * wrong + cell.seed


class Runs:
    """Runs plans in this process, of made-up numbers, and remembers what it ran."""

    def __init__(self, root: Path, accuracy: Callable[[CellConfig], float] = accuracy_of) -> None:
        self.root, self.accuracy = root, accuracy
        self.plans: list[Plan] = []
        self.ran: list[CellConfig] = []
        self.ends_after = 10**6  # cells, as if it was killed then

    def __call__(self, plan: Plan) -> Outcome:
        self.plans.append(plan)
        for cell in plan.left:
            if len(self.ran) == self.ends_after:
                raise KeyboardInterrupt
            self.ran.append(cell.config)
            value = self.accuracy(cell.config)
            if np.isnan(value):
                CellStore(self.root).fail(cell.cell_id, "NaN", "", kind="diverged")
            else:
                finish(self.root, cell.config, value)
        store = CellStore(self.root)
        lacking = [cell for cell in plan.left if store.result(cell.cell_id) is None]
        return Outcome(True, False, tuple(lacking))


def places_of(root: Path) -> Places:
    return Places(None, root)


def search(tuning: Tuning, runs: Runs) -> Ended:
    return run_search(tuning, places_of(runs.root), runs, lambda _: None)


def options_of(ended: Ended) -> dict[str, list[dict[str, Any]]]:
    return {one.tuned.method: [trial.options for trial in one.trials] for one in ended.searched}


def test_every_method_gets_as_many_trials_and_one_without_ranges_its_default(
    tmp_path: Path,
) -> None:
    ended = search(tuning_of(5), runs := Runs(tmp_path))
    found = options_of(ended)
    assert {name: len(trials) for name, trials in found.items()} == {
        "cross-entropy": 1, "gce": 5, "elr": 5,
    }  # fmt: skip
    assert found["gce"][0] == {}
    assert all(0.1 <= trial["loss_power"] <= 1 for trial in found["gce"][1:])
    assert len({trial["loss_power"] for trial in found["gce"][1:]}) == 4
    of_gce = [cell for cell in runs.ran if cell.method.name == "gce"]
    assert len(of_gce) == 5 * 2 * 2  # settings, seeds
    assert {cell.data.validation for cell in runs.ran} == {0.1}


def test_the_best_mean_over_settings_and_seeds_wins_and_of_equal_ones_the_default(
    tmp_path: Path,
) -> None:
    ended = search(tuning_of(6), Runs(tmp_path))
    by_method = {one.tuned.method: one for one in ended.searched}
    gce = by_method["gce"]
    nearest = min(
        (abs(trial.options.get("loss_power", 0.7) - 0.3), k) for k, trial in enumerate(gce.trials)
    )
    assert gce.best == nearest[1] > 0
    assert gce.winner.accuracy == pytest.approx(60.5 - 10 * nearest[0])
    assert by_method["elr"].best == 0
    assert gce.best_so_far == sorted(gce.best_so_far)
    assert gce.best_so_far[-1] == gce.winner.accuracy


def test_a_search_that_was_killed_goes_on_and_a_larger_budget_adds_to_it(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.ends_after = 13
    with pytest.raises(KeyboardInterrupt):
        search(tuning_of(4), runs)
    runs.ends_after = 10**6
    four = search(tuning_of(4), runs)
    assert len(runs.ran) == (1 + 4 + 4) * 4  # each cell once
    seven = search(tuning_of(7), runs)
    assert len(runs.ran) == (1 + 7 + 7) * 4
    for name, trials in options_of(four).items():
        assert options_of(seven)[name][: len(trials)] == trials
    at_once = search(tuning_of(7), Runs(tmp_path / "another"))
    assert options_of(seven) == options_of(at_once)
    assert len({cell.model_dump_json() for cell in runs.ran}) == len(runs.ran)


def test_trials_that_are_the_same_cells_count_once(tmp_path: Path) -> None:
    cells = make_cells(({"name": "co-teaching"},), noise_rates=(0.4,), seeds=(0,))
    (found,) = search(tuning_of(12, cells=cells), runs := Runs(tmp_path)).searched
    assert len(found.trials) == 12
    assert found.distinct == 3  # values of the exponent, of which 1 is the default
    assert len(runs.ran) == 3 * 2


def test_another_seed_is_another_search_and_one_more_method_moves_no_other(tmp_path: Path) -> None:
    first = options_of(search(tuning_of(3), Runs(tmp_path)))
    assert options_of(search(tuning_of(3, seed=1), Runs(tmp_path)))["gce"] != first["gce"]
    cells = make_cells(({"name": "sce"}, *METHODS), noise_rates=(0.4,), seeds=(0, 1))
    more = options_of(search(tuning_of(3, cells=cells), runs := Runs(tmp_path)))
    assert more["gce"] == first["gce"]
    assert {cell.method.name for cell in runs.ran} == {"sce"}


def test_a_grid_has_ends_first_then_middles_and_grows_with_the_budget(tmp_path: Path) -> None:
    cells = make_cells(({"name": "gce"}, {"name": "co-teaching"}), noise_rates=(0.4,), seeds=(0,))
    found = options_of(search(tuning_of(5, search="grid", cells=cells), Runs(tmp_path)))
    assert [trial.get("loss_power") for trial in found["gce"]] == [None, 0.1, 1.0, 0.55, 0.325]
    assert found["co-teaching"] == [{}, {"exponent": 0.5}, {"exponent": 2.0}]  # 1 is the default


def test_a_trial_that_diverges_is_the_worst_and_is_not_run_again(tmp_path: Path) -> None:
    def accuracy(cell: CellConfig) -> float:
        power = getattr(cell.method, "loss_power", 0.7)
        return float("nan") if power < 0.5 and cell.bias.imbalance == 10 else accuracy_of(cell)

    ended = search(tuning_of(6), runs := Runs(tmp_path, accuracy))
    assert ended.is_whole
    gce = next(one for one in ended.searched if one.tuned.method == "gce")
    low = [trial for trial in gce.trials if trial.options.get("loss_power", 0.7) < 0.5]
    assert low
    assert all(trial.has_diverged and trial.accuracy == 0.0 for trial in low)
    assert not gce.winner.has_diverged
    ran = len(runs.ran)
    search(tuning_of(6), runs)
    assert len(runs.ran) == ran


def test_a_cell_that_fails_otherwise_ends_the_search_and_is_run_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    tuning = tuning_of(3)

    def fails_once(plan: Plan) -> Outcome:
        first, *others = plan.left
        CellStore(tmp_path).fail(first.cell_id, "OSError: no", "")
        runs(replace(plan, cells=tuple(others)))
        return Outcome(True, False, (first,))

    ended = run_search(tuning, places_of(tmp_path), fails_once, lambda _: None)
    assert not ended.is_whole
    assert [cell.config.method.name for cell in ended.outcome.lacking] == ["cross-entropy"]
    assert search(tuning, runs).is_whole


def test_winners_and_defaults_are_tested_with_fresh_seeds_on_all_samples(tmp_path: Path) -> None:
    tuning = tuning_of(6)
    runs = Runs(tmp_path)
    ended = search(tuning, runs)
    searched = len(runs.ran)
    final = run_final(tuning, ended.searched, places_of(tmp_path), runs, lambda _: None)
    cells = runs.ran[searched:]
    assert {cell.seed for cell in cells} == {2, 3}
    assert {cell.data.validation for cell in cells} == {None}
    assert len(cells) == 2 * 2 * (1 + 2 + 1)  # settings, seeds; GCE alone has another winner
    ce, gce, elr = results_of(tuning, final.searched, CellStore(tmp_path))
    power = gce.searched.winner.options["loss_power"]
    assert gce.paired is not None
    assert gce.paired.difference == pytest.approx(4 - 10 * abs(power - 0.3))
    assert (gce.paired.n, gce.default) == (4, pytest.approx(58.5))
    assert gce.paired.p_holm == gce.paired.p == 0.125  # four pairs, all better; one comparison
    assert (ce.paired, elr.paired) == (None, None)
    assert ce.default == ce.tuned == pytest.approx(62.5)


def test_the_space_of_the_winners_is_their_cells_again(tmp_path: Path) -> None:
    tuning = tuning_of(6)
    runs = Runs(tmp_path)
    final = run_final(
        tuning, search(tuning, runs).searched, places_of(tmp_path), runs, lambda _: None
    )
    places = places_of(tmp_path)
    text = winners_space(tuning, final.searched, final.plan, places, "curvetune tune small")
    path = tmp_path / "won.yaml"
    path.write_text(text)
    space = load_space(str(path))
    assert space.name == "small-winners"
    ids = [cell.cell_id(DIGEST) for cell in space.cells]
    assert len(ids) == 3 * 2 * 2
    assert all(CellStore(tmp_path).result(cell_id) is not None for cell_id in ids)
    power = final.searched[1].winner.options["loss_power"]
    assert f"# gce: loss_power={power} (" in text
    assert {c.method.model_dump().get("loss_power") for c in space.cells} == {None, power}


def test_a_file_that_is_there_is_written_anew_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "won.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"is there already; .*--force"):
        check_space_file(path, force=False)
    check_space_file(path, force=True)
    with pytest.raises(ConfigError, match=r"a space is a \.yaml file"):
        check_space_file(tmp_path / "won.txt", force=True)
    with pytest.raises(ConfigError, match="there is no folder"):
        check_space_file(tmp_path / "no" / "won.yaml", force=True)
    with pytest.raises(ConfigError, match=r"a figure is a \.svg or \.png file"):
        check_figure_file(tmp_path / "won.pdf", force=True)


def test_the_figure_of_a_search_has_each_method_by_name(tmp_path: Path) -> None:
    ended = search(tuning := tuning_of(3), Runs(tmp_path))
    svg = figure_file(tuning, ended.searched, "svg").decode()
    for text in ("cross-entropy", "gce", "elr", "small-tuning", "best validation accuracy so far"):
        assert text in svg


def tune(*words: str) -> Any:
    return CliRunner().invoke(app, ["tune", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "0"), "--budget 0: allowed is at least 1"),
        (("--budget", "2", "--test-seeds", "0"), "--test-seeds 0: allowed is at least 1"),
        (("--budget", "2", "--methods", "gcee"), "unknown method 'gcee' (did you mean 'gce'?)"),
        (("--budget", "2", "--search", "guess"), "allowed are random, grid, optuna"),
        (("--budget", "2", "--validate-on", "test"), "allowed are clean, which is half"),
        (("--budget", "2", "--validate-on", "0.9"), "above 0 and at most 0.5"),
        (("--budget", "2", "--set", "validation=0.2"), "leave it out, and say --validate-on 0.2"),
        (
            ("--budget", "2", "--methods", "gce", "--set", "loss_power=[0.3,0.5]"),
            "gce: the space has it with several options",
        ),
        (
            ("--budget", "2", "--validate-on", "clean", "--set", "meta_per_class=1"),
            "validation=clean takes half of the meta set",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = tune("digits", *words, "--storage", str(tmp_path))
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_is_searched_and_starts_nothing(tmp_path: Path) -> None:
    words = ("--methods", "cross-entropy,gce", "--seeds", "0", "--budget", "3", "--json")
    done = tune("digits", *words, "--dry-run", "--storage", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "cross-entropy: declares no range, so it runs its default once" in done.stderr
    assert "gce: loss_power in 0.1 to 1 (q is from 0, cross entropy" in done.stderr
    found = json.loads(done.stdout)
    assert found["search"]["cells_to_run"] == 4 * (1 + 3)
    assert found["test"]["cells_to_run"] == 4 * 3 * (1 + 2)
    assert not list(tmp_path.iterdir())


class Unread(Images):
    """Images that raise when anybody looks at them, or at their labels."""

    allowed = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("x", "y") and not Unread.allowed:
            raise AssertionError(f"the test set was read: {name}")
        return super().__getattribute__(name)


def real_cells() -> list[CellConfig]:
    return [
        CellConfig.model_validate(
            {
                "data": {"name": "digits", "per_class_limit": 12, "test_limit": 20},
                "bias": {"noise": "symmetric", "noise_rate": 0.4},
                "probe": {"epochs": 4, "cyclic_start": 2, "half_period": 1, "batch_size": 32},
                "allocate": {"epochs": 2, "warmup": 0, "milestones": [], "batch_size": 32},
                "method": method,
            }
        )
        for method in ({"name": "curvenet", "removed_losses": 1}, {"name": "gce"})
    ]


@pytest.mark.parametrize("validation", [0.2, "clean"])
def test_the_test_set_is_not_read_before_the_end(
    tmp_path: Path, validation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, digest = data.load("digits"), data.digest("digits")
    closed = replace(dataset, test=Unread(dataset.test.x, dataset.test.y))
    monkeypatch.setattr(Unread, "allowed", False)
    read: list[bool] = []

    def run(plan: Plan) -> Outcome:
        for cell in plan.left:
            read.append(Unread.allowed)
            run_cell(cell.config, digest, closed, tmp_path, device=torch.device("cpu"))
        return Outcome(True, False, ())

    cells = real_cells()
    tuning = tuning_of(2, cells=cells, digest=digest, validation=validation, test_seeds=1)
    places = places_of(tmp_path)
    ended = run_search(tuning, places, run, lambda _: None)
    assert ended.is_whole
    assert read == [False] * 4
    of_curvenet = [trial.accuracy for trial in ended.searched[0].trials]
    assert all(value is not None for value in of_curvenet)
    with pytest.raises(AssertionError, match="the test set was read"):
        run_final(tuning, ended.searched, places, run, lambda _: None)
    Unread.allowed = True
    assert run_final(tuning, ended.searched, places, run, lambda _: None).is_whole
    probes = {path.name for path in (tmp_path / "probes").iterdir()}
    assert len(probes) == 2  # one of all trials of CurveNet, one of its test


def test_a_data_set_without_its_test_set_is_made_without_touching_that() -> None:
    dataset: Dataset = data.load("digits")
    closed = replace(dataset, test=Unread(dataset.test.x, dataset.test.y))
    assert len(closed.without_test().test) == 0
    assert closed.without_test().test.x.shape[1:] == dataset.train.x.shape[1:]


def test_the_grid_of_a_search_says_wherever_it_is_shown_that_it_is_not_tested(
    tmp_path: Path,
) -> None:
    cells = [cell for tuned in tuning_of().methods for cell in tuning_of().trial(tuned, {})]
    for name, these in (("small-tuning", cells), ("small", make_cells(METHODS))):
        for cell in these:
            finish(tmp_path, cell, 50.0)
        write_grid(tmp_path, these, name)
    said = "accuracy on held-out samples, not on the test set"
    shown = [
        CliRunner().invoke(app, ["report", name, "--storage", str(tmp_path)]).stdout
        for name in ("small-tuning", "small")
    ]
    assert said in " ".join(shown[0].split())
    assert "held-out" not in shown[1]
