import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.console import Console
from storage_fixtures import (
    DIGEST,
    EPOCHS,
    add_epochs,
    add_probe_epochs,
    begin,
    fail,
    finish,
    make_cells,
    store_probe,
    write_grid,
)
from typer.testing import CliRunner

from curvetune.cli import explain as command
from curvetune.config import METHOD_SECTIONS, CellConfig
from curvetune.errors import ConfigError
from curvetune.grids.identity import deciding_keys, default_keys, differing_keys
from curvetune.grids.labels import flatten
from curvetune.status.why import Why, checkpoint_epochs, explain, why_json
from curvetune.status.why_text import print_why
from curvetune.store import CellStore, CurveStore
from curvetune.store.lease import leased
from curvetune.training.checkpoint import save_state

HOLD = """
import sys, time
from pathlib import Path
from curvetune.store.lease import leased
with leased(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def cells() -> list[CellConfig]:
    """Two settings, of cross entropy and curvenet each."""
    return make_cells(imbalances=(1, 10), noise_rates=(0.4,), seeds=(0,))


@pytest.fixture
def root(tmp_path: Path, cells: list[CellConfig]) -> Path:
    write_grid(tmp_path, cells)
    return tmp_path


def why(root: Path, cell: CellConfig) -> Why:
    return explain(root, cell.cell_id(DIGEST))


def printed(found: Why, root: Path) -> str:
    out = io.StringIO()
    print_why(found, Console(file=out, width=200), root)
    return out.getvalue()


def folder(root: Path, cell: CellConfig) -> Path:
    return CellStore(root).folder(cell.cell_id(DIGEST))


@pytest.fixture
def killed(root: Path, cells: list[CellConfig]) -> int:
    """The process that held the first cell, until it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder(root, cells[0]))], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return process.pid


def variants() -> Iterator[CellConfig]:
    """Cells that differ in all sorts of ways, or do not though their configs do."""
    for name in METHOD_SECTIONS:
        yield CellConfig.model_validate({"method": {"name": name}})
    for part in (
        {"seed": 1},
        {"data": {"name": "cifar10"}},
        {"data": {"train_limit": 100}},
        {"bias": {"noise": "flip"}},  # the same cell: there is no noise
        {"bias": {"noise": "flip", "noise_rate": 0.4}},
        {"bias": {"noise_rate": 0.4}},
        {"model": {"precision": "bfloat16"}},
        {"probe": {"epochs": 7}},  # the same cell: cross entropy has no probe
        {"probe": {"epochs": 7}, "method": {"name": "curvenet"}},
        {"allocate": {"milestones": [1, 2]}},
        {"method": {"name": "curvenet", "meta_every": 2}},
    ):
        yield CellConfig.model_validate(part)


def test_two_cells_have_the_same_address_if_and_only_if_they_agree_in_all_keys() -> None:
    same = 0
    for one, other in itertools.combinations(variants(), 2):
        agree = not differing_keys(deciding_keys(one, DIGEST), deciding_keys(other, DIGEST))
        assert agree == (one.cell_id(DIGEST) == other.cell_id(DIGEST)), (one, other)
        same += agree
    assert same == 3  # cross entropy as it is, without noise of a kind, without a probe of 7
    cell = CellConfig()
    assert differing_keys(deciding_keys(cell, DIGEST), deciding_keys(cell, "e" * 64)) == [
        "data.digest"
    ]


@pytest.mark.parametrize("name", METHOD_SECTIONS)
def test_a_cell_of_which_only_the_method_is_named_is_all_defaults(name: str) -> None:
    cell = CellConfig.model_validate({"method": {"name": name}})
    others = deciding_keys(cell, DIGEST).keys() - default_keys(cell, DIGEST)
    assert others == {
        "data.name",
        "data.digest",
        "method.name",
        "version.split",
        "version.cell",
    }


def test_what_was_chosen_is_not_marked_as_a_default() -> None:
    cell = CellConfig.model_validate(
        {
            "bias": {"imbalance": 10, "noise": "flip", "noise_rate": 0.2},
            "allocate": {"lr": 0.05},
            "seed": 2,
        }
    )
    chosen = {"bias.imbalance", "bias.noise", "bias.noise_rate", "allocate.lr", "seed"}
    keys = deciding_keys(cell, DIGEST)
    assert chosen <= keys.keys() - default_keys(cell, DIGEST)
    assert len(keys.keys() - default_keys(cell, DIGEST)) == len(chosen) + 5


def test_a_done_cell_says_so_and_what_the_nearest_result_has_otherwise(
    root: Path, cells: list[CellConfig]
) -> None:
    finish(root, cells[0], 70)
    finish(root, cells[2], 60)
    finish(root, cells[3], 65)
    found = why(root, cells[0])
    assert (found.state, found.grids) == ("done", ["small"])
    assert found.nearest is not None
    assert found.nearest.cell_id == cells[2].cell_id(DIGEST)
    assert why_json(found)["nearest"]["differences"] == [
        {"key": "bias.imbalance", "this": 1.0, "that": 10.0}
    ]
    text = printed(found, root)
    assert "done: 70.00 % in 8 s" in text
    assert f"nearest done cell: {cells[2].cell_id(DIGEST)} differs in 1 key\n" in text


def test_the_nearest_result_is_the_one_with_the_fewest_differing_keys_of_the_identity(
    tmp_path: Path,
) -> None:
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.2, 0.4), seeds=(0, 1))
    write_grid(tmp_path, cells)
    done = cells[5:]
    for cell in done:
        finish(tmp_path, cell, 70)

    def distance(one: CellConfig, other: CellConfig) -> int:
        flat = [dict(flatten(cell.cell_identity(DIGEST))) for cell in (one, other)]
        for identity in flat:
            identity.pop("probe", None)  # where there is none
        keys = flat[0].keys() | flat[1].keys()
        absent = object()
        return sum(flat[0].get(key, absent) != flat[1].get(key, absent) for key in keys)

    for cell in cells:
        ranked = sorted(
            (distance(cell, other), other.cell_id(DIGEST)) for other in done if other is not cell
        )
        nearest = why(tmp_path, cell).nearest
        assert nearest is not None
        assert (len(nearest.differing), nearest.cell_id) == ranked[0]


def test_a_damaged_result_is_not_the_nearest_one(root: Path, cells: list[CellConfig]) -> None:
    for cell in cells[:3]:
        finish(root, cell, 70)
    (folder(root, cells[2]) / "model.safetensors").write_bytes(b"other")
    nearest = why(root, cells[0]).nearest
    assert nearest is not None
    assert nearest.cell_id == cells[1].cell_id(DIGEST)
    assert why(root, cells[2]).state != "done"


def test_a_cell_that_was_not_begun_waits_or_has_its_probe_cached(
    root: Path, cells: list[CellConfig]
) -> None:
    found = why(root, cells[1])
    assert (found.state, found.probe and found.probe.state) == ("waiting", "missing")
    assert found.nearest is None
    assert "there is no other" in printed(found, root)
    store_probe(root, cells[1])
    found = why(root, cells[1])
    assert (found.state, found.probe and found.probe.state) == ("cached", "stored")
    assert "to run it: curvetune grid small" in printed(found, root)
    path = CurveStore(root).folder(str(cells[1].probe_id(DIGEST))) / "curves.npy"
    path.write_bytes(path.read_bytes()[:-1])
    found = why(root, cells[1])
    assert (found.state, found.probe and found.probe.state) == ("waiting", "damaged")


def test_a_cell_runs_while_its_lease_is_alive_however_old_its_news(
    root: Path, cells: list[CellConfig]
) -> None:
    add_epochs(root, cells[0], 2)
    for path in folder(root, cells[0]).iterdir():
        os.utime(path, (1, 1))
    with leased(folder(root, cells[0])):
        found = why_json(why(root, cells[0]))
        text = printed(why(root, cells[0]), root)
    assert (found["state"], found["stage"], found["epoch"]) == ("running", "allocate", 2)
    assert found["holder"]["pid"] == os.getpid()
    assert time.time() - found["holder"]["since"] < 60
    assert f"running: allocate 2/{EPOCHS}, by process {os.getpid()} on " in text


def test_a_cell_is_stale_as_soon_as_its_process_was_killed(
    root: Path, cells: list[CellConfig], killed: int
) -> None:
    add_epochs(root, cells[0], 3)
    save_state(
        folder(root, cells[0]) / "checkpoint.safetensors",
        {"epoch": 2, "rows": [], "curves": torch.ones(3)},
    )
    found = why(root, cells[0])
    assert (found.state, found.checkpoint) == ("stale", 2)
    text = printed(found, root)
    assert f"stale: left in allocate 3/{EPOCHS}; it was run by process {killed} on " in text
    assert "goes on from epoch 2" in text


def test_a_stale_cell_in_its_probe_goes_on_from_the_checkpoint_of_the_probe(
    root: Path, cells: list[CellConfig]
) -> None:
    add_probe_epochs(root, cells[1], 3)
    with leased(folder(root, cells[1])):  # and released
        pass
    assert why(root, cells[1]).checkpoint is None
    path = CurveStore(root).folder(str(cells[1].probe_id(DIGEST))) / "checkpoint.safetensors"
    save_state(path, {"epoch": 3, "rows": []})
    found = why_json(why(root, cells[1]))
    assert (found["state"], found["stage"], found["checkpoint"]) == ("stale", "probe", 3)


def test_a_checkpoint_that_is_damaged_is_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_state(path, {"epoch": 4, "streams": {"train": torch.zeros(8)}})
    assert checkpoint_epochs(path) == 4
    path.write_bytes(path.read_bytes()[:-1])
    assert checkpoint_epochs(path) is None
    assert checkpoint_epochs(tmp_path / "missing") is None


def test_a_failed_cell_tells_kind_error_log_and_how_to_try_again(
    root: Path, cells: list[CellConfig]
) -> None:
    fail(root, cells[0])
    log = "\n".join(f"line {k}" for k in range(20))
    CellStore(root).fail(cells[0].cell_id(DIGEST), "DivergedError: NaN", log, kind="diverged")
    found = why_json(why(root, cells[0]))
    assert found["state"] == "failed"
    assert found["failure"]["kind"] == "diverged"
    assert found["failure"]["log_tail"][-1] == "line 19"
    text = printed(why(root, cells[0]), root)
    assert "failed: diverged: DivergedError: NaN" in text
    assert "line 19" in text
    assert "line 3\n" not in text
    assert "to try it again: curvetune retry small" in text


def test_every_grid_of_a_cell_is_named(root: Path, cells: list[CellConfig]) -> None:
    write_grid(root, cells[:1], name="other")
    assert why(root, cells[0]).grids == ["other", "small"]
    assert why(root, cells[1]).grids == ["small"]


def test_a_cell_of_no_grid_is_explained_from_its_own_config(
    tmp_path: Path, cells: list[CellConfig]
) -> None:
    begin(tmp_path, cells[0])
    found = why(tmp_path, cells[0])
    assert (found.state, found.grids) == ("running", [])  # begun just now, by an old version
    assert found.keys == deciding_keys(cells[0], DIGEST)
    assert "grids: none refers to it" in printed(found, tmp_path)


def test_a_cell_of_another_version_says_that_it_will_not_be_used(
    tmp_path: Path, cells: list[CellConfig]
) -> None:
    entry = {"cell_id": "0" * 16, "probe_id": None, "config": cells[0].model_dump(mode="json")}
    CellStore(tmp_path).write_grid("old", {"cells": [entry], "data_digest": DIGEST})
    found = explain(tmp_path, "000")
    assert found.address == cells[0].cell_id(DIGEST)
    assert f"has the address {found.address} in this version" in printed(found, tmp_path)


def test_the_first_digits_of_an_id_are_enough(root: Path, cells: list[CellConfig]) -> None:
    ids = [cell.cell_id(DIGEST) for cell in cells]
    for cell_id in ids:
        others = [other for other in ids if other != cell_id]
        length = next(n for n in range(1, 17) if not any(o.startswith(cell_id[:n]) for o in others))
        assert explain(root, cell_id[:length].upper()).cell.cell_id == cell_id


def test_an_id_that_is_unknown_is_answered_with_the_nearest(
    root: Path, cells: list[CellConfig]
) -> None:
    cell_id = cells[0].cell_id(DIGEST)
    typed = cell_id[:5] + ("0" if cell_id[5] != "0" else "1") + cell_id[6:8]
    with pytest.raises(ConfigError, match=rf"unknown cell '{typed}' .*nearest: {cell_id}"):
        explain(root, typed)
    for wrong in ("", "../../etc", "zzzz"):
        with pytest.raises(ConfigError, match="unknown cell"):
            explain(root, wrong)


def test_first_digits_of_several_cells_are_refused(tmp_path: Path) -> None:
    cells = make_cells(imbalances=(1, 10, 20), noise_rates=(0.0, 0.4), seeds=(0, 1, 2))
    write_grid(tmp_path, cells)
    ids = sorted(cell.cell_id(DIGEST) for cell in cells)
    shared = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    with pytest.raises(ConfigError, match=rf"cell '{shared}' is ambiguous: {shared}"):
        explain(tmp_path, shared)


def test_the_command_prints_text_or_json_and_changes_nothing(
    root: Path, cells: list[CellConfig]
) -> None:
    finish(root, cells[1], 70)
    before = sorted(root.rglob("*"))
    app = typer.Typer()
    app.command()(command.why)
    arguments = [cells[0].cell_id(DIGEST)[:8], "--storage", str(root)]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert text.startswith(f"cell {cells[0].cell_id(DIGEST)}: cross-entropy, imbalance 1")
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["schema_version"], found["state"]) == (1, "waiting")
    identity = {item["key"]: item["value"] for item in found["identity"]}
    assert identity == deciding_keys(cells[0], DIGEST)
    assert sorted(root.rglob("*")) == before


def test_the_command_imports_nothing_heavy(root: Path, cells: list[CellConfig]) -> None:
    code = (
        "import sys; from curvetune.cli import app\n"
        f"app(['why', {cells[0].cell_id(DIGEST)!r}, '--storage', {str(root)!r}], "
        "standalone_mode=False)\n"
        "assert not {'torch', 'ray', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
