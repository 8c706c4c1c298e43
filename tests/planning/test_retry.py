import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from storage_fixtures import DIGEST, add_epochs, fail, finish, make_cells, write_grid
from typer.testing import CliRunner, Result

from curvetune import data
from curvetune.cli import retry as command
from curvetune.config import CellConfig
from curvetune.errors import FAILURE_KINDS, ConfigError
from curvetune.planning.plan import Plan
from curvetune.planning.retry import plan_retry
from curvetune.status.failures import CARRIED, given_options, retry_command
from curvetune.store import CellStore, CurveStore
from curvetune.store.lease import leased
from curvetune.training import failures
from curvetune.training.import_errors import IMPORT


@pytest.fixture
def cells() -> list[CellConfig]:
    """Six cells, of which three share a probe with another."""
    return make_cells(
        [{"name": "cross-entropy"}, {"name": "curvenet"}, {"name": "curvenet", "skip_layers": 3}],
        imbalances=(1,),
        noise_rates=(0.0, 0.4),
        seeds=(0,),
    )


@pytest.fixture
def root(tmp_path: Path, cells: list[CellConfig]) -> Path:
    """A grid: done, failed as oom, failed as other, failed as hang but interrupted, begun, new."""
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 70)
    fail(tmp_path, cells[1])
    CellStore(tmp_path).fail(cells[1].cell_id(DIGEST), "OutOfMemoryError: …", "log", kind="oom")
    fail(tmp_path, cells[2])
    CellStore(tmp_path).fail(cells[3].cell_id(DIGEST), "HangError: …", "log", kind="hang")
    for cell in cells[3:5]:
        with leased(CellStore(tmp_path).folder(cell.cell_id(DIGEST))):
            add_epochs(tmp_path, cell, 2)
    return tmp_path


def plan(root: Path, *kinds: str) -> Plan:
    store = CellStore(root)
    return plan_retry(
        "small",
        store.read_grid("small"),
        failed_as=kinds,
        is_done=lambda cell_id: store.result(cell_id) is not None,
        failure=store.failure,
        has_probe=CurveStore(root).has,
    )


def ids(cells: Sequence[CellConfig]) -> list[str]:
    return [cell.cell_id(DIGEST) for cell in cells]


def test_the_failed_cells_of_a_grid_are_planned_and_no_others(
    root: Path, cells: list[CellConfig]
) -> None:
    found = plan(root)
    assert [cell.cell_id for cell in found.left] == ids(cells[1:4])
    assert [cell.config for cell in found.left] == cells[1:4]
    assert [cell.probe_id for cell in found.left] == [c.probe_id(DIGEST) for c in cells[1:4]]
    assert (found.name, found.digest, found.is_part) == ("small", DIGEST, True)


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [(["oom"], [1]), (["other"], [2]), (["hang", "oom"], [1, 3]), (["lost"], [])],
)
def test_only_the_kinds_that_are_named_are_planned(
    root: Path, cells: list[CellConfig], kinds: list[str], chosen: list[int]
) -> None:
    assert [cell.cell_id for cell in plan(root, *kinds).cells] == ids([cells[k] for k in chosen])


def test_a_retry_that_was_interrupted_is_planned_again_until_the_cell_is_done(
    root: Path, cells: list[CellConfig]
) -> None:
    assert cells[3].cell_id(DIGEST) in [cell.cell_id for cell in plan(root).cells]
    finish(root, cells[3], 60)
    assert cells[3].cell_id(DIGEST) not in [cell.cell_id for cell in plan(root).cells]


def test_a_cell_that_this_version_would_not_run_as_it_was_is_refused(
    tmp_path: Path, cells: list[CellConfig]
) -> None:
    entry = {"cell_id": "0" * 16, "probe_id": None, "config": cells[0].model_dump(mode="json")}
    grid = {"cells": [entry], "data_digest": DIGEST, "command": "curvetune grid small"}
    CellStore(tmp_path).write_grid("small", grid)
    CellStore(tmp_path).fail("0" * 16, "RuntimeError: no luck", "log")
    message = (
        rf"cell {'0' * 16}: .* address {cells[0].cell_id(DIGEST)}.*run it anew: curvetune grid"
    )
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path)


def test_every_kind_of_failure_can_be_named() -> None:
    named = {*failures.KIND_OF.values(), failures.OOM, failures.LOST, failures.HANG, "other"}
    named |= {failures.FULL, IMPORT}
    assert set(FAILURE_KINDS) == named
    assert command.parse_kinds(",".join(FAILURE_KINDS)) == list(FAILURE_KINDS)
    assert command.parse_kinds("") == []
    with pytest.raises(ConfigError, match=r"--failed-as 'oon': allowed are .*\(did you mean 'oom'"):
        command.parse_kinds("hang,oon")


def run(root: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command.retry)
    return CliRunner().invoke(app, [*arguments, "--storage", str(root)], catch_exceptions=False)


def test_wrong_words_are_refused_before_anything_starts(root: Path) -> None:
    before = sorted(root.rglob("*"))
    for arguments, message in (
        (("smal",), r"unknown grid 'smal' \(did you mean 'small'\?\)"),
        (("small", "--failed-as", "oops"), "--failed-as 'oops': allowed are oom"),
        (("small", "--gpus-per-trial", "1.5"), "--gpus-per-trial 1.5"),
        (("small", "--address", "ray://host"), "--address ray://host"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(root, *arguments)
    assert sorted(root.rglob("*")) == before


def test_other_data_than_the_grids_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not what grid 'small' was run on .*--data-dir"):
        run(root, "small")  # whose digest is made up


@pytest.mark.parametrize(
    ("text", "carried"),
    [
        ("curvetune grid digits --seeds 0-4 --storage /x", []),
        (
            "curvetune grid digits --gpus-per-trial 0.5 --data-dir '/a b' --methods focal",
            ["--data-dir", "/a b", "--gpus-per-trial", "0.5"],
        ),
        (
            "curvetune grid x --address=auto --address=h:1  # *** stands for a secret",
            ["--address", "h:1"],
        ),
        ("it's no command line", []),
    ],
)
def test_the_command_that_is_shown_keeps_how_the_grid_was_run(
    text: str, carried: list[str]
) -> None:
    assert given_options(text, CARRIED) == carried


def test_the_command_that_is_shown_says_where_a_secret_is_to_be_put_in() -> None:
    uri = "curvetune grid digits --tracking-uri http://***@host:5000"
    assert retry_command("digits", uri, Path("/x")) == (
        "curvetune retry digits --tracking-uri 'http://***@host:5000' --storage /x"
        "  # put in again what *** stands for"
    )


def test_nothing_to_retry_is_said_with_what_else_is_not_done(root: Path) -> None:
    recorded = (root / "grids" / "small.json").read_bytes()
    result = run(root, "small", "--failed-as", "lost", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["cells"]) == 6
    assert "small: no such failed cell to run again" in result.stderr
    assert "other cells are not done: 2 failed, 2 stale, 1 waiting" in result.stderr
    assert result.stderr.endswith("\n  curvetune grid small\n")
    assert (root / "grids" / "small.json").read_bytes() == recorded


@pytest.mark.ray
@pytest.mark.slow
def test_a_retry_runs_the_cells_that_failed_as_was_named_and_leaves_the_rest(
    tmp_path: Path,
) -> None:
    digest = data.digest("digits")
    cells = [
        CellConfig.model_validate(
            {
                "data": {"name": "digits", "train_limit": 60, "test_limit": 60},
                "model": {"name": "resnet8"},
                "allocate": {"epochs": 2, "warmup": 0, "milestones": [], "lr": lr},
                "seed": seed,
            }
        )
        for seed, lr in enumerate([0.1, 1e30, 0.1, 0.1])
    ]
    hung, diverged, oom, new = ids = [cell.cell_id(digest) for cell in cells]
    entries = [
        {"cell_id": cell_id, "probe_id": None, "config": cell.model_dump(mode="json")}
        for cell_id, cell in zip(ids, cells, strict=True)
    ]
    store = CellStore(tmp_path)
    grid = {"cells": entries, "command": "curvetune grid tiny", "data_digest": digest}
    store.write_grid("tiny", grid)
    for cell_id, kind in ((hung, "hang"), (diverged, "diverged"), (oom, "oom")):
        store.fail(cell_id, "SomeError: as it was", "log", kind=kind)
    recorded = (tmp_path / "grids" / "tiny.json").read_bytes()

    code = "from curvetune.cli import main; main()"
    options = ["tiny", "--failed-as", "hang,diverged", "--storage", str(tmp_path), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, "retry", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 3, done.stderr  # one diverges, as it must
    assert "tiny: 2 failed cells to run again" in done.stderr
    assert re.search(rf"1 of 2 cells failed:\n  {diverged}", done.stderr)
    states = [cell["state"] for cell in json.loads(done.stdout)["cells"]]
    assert states == ["done", "failed", "failed", "waiting"]
    assert store.failure(hung) is None
    again, untouched = store.failure(diverged), store.failure(oom)
    assert again is not None
    assert again["error"].startswith("DivergedError: ")
    assert untouched is not None
    assert untouched["error"] == "SomeError: as it was"
    assert not (store.folder(new)).exists()
    assert (tmp_path / "grids" / "tiny.json").read_bytes() == recorded
