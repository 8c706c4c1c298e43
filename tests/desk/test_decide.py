"""`curvetune decide`: what is told of seeds that are there, and what a round is."""

import json
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.deciding import parse_budget, read_duel, standing
from curvetune.errors import ConfigError
from curvetune.planning.more_seeds import duel_name
from curvetune.store import CellStore

A, B = "cross-entropy", "curvenet"


def storage_with(root: Path, gains: dict[int, float], *, lacking: int | None = None) -> Path:
    """A grid of two settings in which B is better by `gains` points, seed by seed."""
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,), seeds=tuple(gains))
    write_grid(root, cells)
    for cell in cells:
        base = 60.0 if cell.bias.imbalance == 1 else 40.0
        wins = gains[cell.seed] if cell.method.name == B else 0.0
        if not (cell.seed == lacking and cell.method.name == B and base == 40.0):
            finish(root, cell, base + wins)
    return root


def decide(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["decide", *map(str, arguments)], catch_exceptions=False)


def test_seeds_that_are_there_decide_and_nothing_is_run(tmp_path: Path) -> None:
    gains = dict(enumerate([2.0, 2.4, 1.8, 2.1, 1.9, 2.2, 2.0]))
    root = storage_with(tmp_path, gains)
    before = sorted(path for path in root.rglob("*") if path.is_file())
    done = decide(A, B, "--in", "small", "--storage", root, "--json")
    found = json.loads(done.stdout)
    assert found["verdict"] == "better"
    assert found["difference"] == pytest.approx(sum(gains.values()) / 7)
    assert found["low"] < found["difference"] < found["high"]
    assert [one["seed"] for one in found["seeds"]] == list(range(7))
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before
    turned = decide(B, A, "--in", "small", "--storage", root)
    assert "cross-entropy is worse than curvenet: -2.06 points over 7 seeds" in turned.stdout


def test_a_seed_that_lacks_a_cell_ends_the_count_and_is_the_next_round(tmp_path: Path) -> None:
    root = storage_with(tmp_path, dict.fromkeys(range(4), 1.0), lacking=2)
    duel = read_duel("small", A, B, root)
    now = standing(duel, root)
    assert (now.seeds, now.verdict) == ((0, 1), "open")
    round_of_three = duel.until(3)
    assert len(round_of_three) == 3 * 2 * 2
    lacking = [cell for cell in round_of_three if not _is_done(root, cell.cell_id(DIGEST))]
    assert [(cell.seed, cell.method.name, cell.bias.imbalance) for cell in lacking] == [(2, B, 10)]


def test_seeds_count_in_one_order_whatever_the_grid_has_or_gets_later(tmp_path: Path) -> None:
    root = storage_with(tmp_path, {5: 1.0, 0: 1.0})
    duel = read_duel("small", A, B, root)
    assert [cell.seed for cell in duel.until(4)[::4]] == [0, 1, 2, 3]
    assert standing(duel, root).seeds == (0,)
    assert duel.name == "small-cross-entropy-against-curvenet"


def test_names_that_look_alike_are_told_apart() -> None:
    names = [duel_name("g", "a b=1", "c"), duel_name("g", "a b-1", "c"), duel_name("g", "a", "c")]
    assert len(set(names)) == 3
    long = [duel_name("g", "a" * 130 + end, "c") for end in "xy"]
    assert len(set(long)) == 2
    assert all(len(name) <= 128 for name in [*names, *long])


def test_equal_methods_are_decided_and_do_not_go_on_for_ever(tmp_path: Path) -> None:
    root = storage_with(tmp_path, dict.fromkeys(range(6), 0.0))
    done = decide(A, B, "--in", "small", "--storage", root)
    assert "curvenet equals cross-entropy: +0.00 points over 6 seeds" in done.stdout


def test_a_verdict_on_another_profile_is_stamped_and_so_are_its_cells(tmp_path: Path) -> None:
    root = storage_with(tmp_path, dict(enumerate([2.0, 2.4, 1.8, 2.1, 1.9, 2.2, 2.0])))
    store = CellStore(root)
    store.write_grid("small", store.read_grid("small") | {"made": {"profile": "smoke"}})
    done = decide(A, B, "--in", "small", "--storage", root)
    assert "(profile smoke)" in done.stdout
    assert read_duel("small", A, B, root).profiles[-1] == "smoke"


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "h", "1d", "nan", "0h"])
def test_a_budget_is_a_number_of_cells_or_a_time_above_zero(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget .*allowed are a number of cells.*above 0"):
        parse_budget(text)
    assert parse_budget("40").cells == 40
    assert parse_budget("1.5h").seconds == 5400
    assert parse_budget("90m").seconds == 5400


def test_a_method_that_the_grid_has_not_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    root = storage_with(tmp_path, {0: 1.0})
    with pytest.raises(ConfigError, match=r"'curvnet' is no method .*did you mean 'curvenet'"):
        read_duel("small", A, "curvnet", root)
    with pytest.raises(ConfigError, match="compared with itself"):
        read_duel("small", A, A, root)


def _is_done(root: Path, cell_id: str) -> bool:
    return (root / "cells" / cell_id / "DONE.json").exists()
