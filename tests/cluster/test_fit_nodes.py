"""Trials 3 to 7 and 14 to 17: what nodes must have before they get a trial, and nodes that come."""

import json
import re
import time
from pathlib import Path

import grids
import pytest
import space
import venvs
from bed import Bed
from commands import until

import curvetune.tune.job as job

pytestmark = pytest.mark.timeout(400)
FAKE = {job.FAKE_GPUS: "1"}


@pytest.fixture
def cluster(bed: Bed) -> Bed:
    """A head and a worker with a CPU each."""
    bed.head("h1", "--num-cpus=1")
    bed.worker("h2", "h1", "--num-cpus=1")
    return bed


@pytest.fixture(scope="session")
def environments(session_bed: Bed) -> Path:
    """A folder that all hosts see; each has a /tmp of its own."""
    return session_bed.tools / "environments"


def has_results(bed: Bed) -> bool:
    return any(bed.shared.glob("results/cells/*")) or any(bed.home("h1").glob("*/cells/*"))


def test_trial_3_a_storage_that_is_not_shared_is_refused_before_a_cell_runs(cluster: Bed) -> None:
    code, output = space.run_grid(cluster, "h1", head="h1", storage="/home/ct/results")
    assert code == 2, output
    assert f"h2 ({cluster.ip('h2')}) storage /home/ct/results is not there" in output
    assert "h1 (" not in output.partition("nothing was started")[2]
    assert not has_results(cluster)
    assert not cluster.home("h2").joinpath("results").exists()


@pytest.mark.parametrize(
    ("how", "reason"), [("ro", "cannot be written (Read-only"), ("off", "is not there, or is an")]
)
def test_trial_4_a_host_whose_share_is_read_only_or_another_is_named_with_the_reason(
    cluster: Bed, how: str, reason: str
) -> None:
    cluster.share("h2", how)
    code, output = space.run_grid(cluster, "h1", head="h1")
    assert code == 2, output
    assert f"h2 ({cluster.ip('h2')}) storage {space.STORAGE} {reason}" in output
    assert not has_results(cluster)


@pytest.mark.parametrize("kind", ["trial_5_none", "trial_6_older", "trial_7_other_version"])
def test_the_drivers_code_travels_to_a_host_without_it_or_with_other_code(
    bed: Bed, laptop: Path, environments: Path, kind: str
) -> None:
    code_of(bed, environments, kind)
    bed.head("h1", "--num-cpus=0")
    bed.worker("h2", "h1", "--num-cpus=1")
    code, output = space.run_grid(bed, "h1", head="h1")
    assert code == 0, output
    storage = bed.shared / "results"
    assert {*space.holders(storage).values()} == {"h2"}
    made = [json.loads(path.read_text()) for path in storage.glob("cells/*/DONE.json")]
    expected = [json.loads(path.read_text()) for path in laptop.glob("cells/*/DONE.json")]
    assert {done["source"] for done in made} == {done["source"] for done in expected}
    assert {done["commit"] for done in made} == {done["commit"] for done in expected}
    space.assert_same(storage, laptop)


def code_of(bed: Bed, environments: Path, kind: str) -> None:
    """Give h2 an environment of its own."""
    folder = environments / kind
    if kind == "trial_5_none":
        bed.venvs["h2"] = venvs.without_curvetune(folder)
    elif kind == "trial_6_older":
        edits = {"curvetune/batch.py": ('"""', '"""Older. ')}
        bed.venvs["h2"] = venvs.with_code(folder, edits=edits)
    else:
        edits = {"curvetune/config/cell.py": ("CELL_VERSION = ", "CELL_VERSION = 1000 + ")}
        bed.venvs["h2"] = venvs.with_code(folder, edits=edits)


def test_trial_14_a_head_without_cpus_waits_for_a_worker(bed: Bed, laptop: Path) -> None:
    bed.head("h1", "--num-cpus=0")
    driver = space.start_grid(bed, "h1", head="h1")
    driver.says("waiting for 4 CPUs, 0 there")
    bed.worker("h2", "h1", "--num-cpus=1")
    code, output = driver.wait(150)
    assert code == 0, output
    space.assert_same(bed.shared / "results", laptop)


def test_trial_14_what_does_not_come_in_time_is_an_error_that_says_what_to_do(bed: Bed) -> None:
    bed.head("h1", "--num-cpus=0")
    code, output = space.run_grid(bed, "h1", "--wait", "2s", head="h1")
    assert code == 5, output
    assert re.search(r"no room for a cell, which asks for 1 CPU, for [23](\.\d)? s;", output), (
        output
    )
    assert "--wait" in output
    assert "Finished cells are kept; run the same command again" in output


def test_trial_15_a_node_that_joins_in_mid_grid_is_used(bed: Bed, long_laptop: Path) -> None:
    storage = bed.shared / "results"
    bed.head("h1", "--num-cpus=1")
    driver = space.start_grid(bed, "h1", head="h1", text=space.LONG)
    until(lambda: space.holders(storage).values(), 90, "a cell runs on h1")
    bed.worker("h2", "h1", "--num-cpus=2")
    until(lambda: "h2" in space.holders(storage).values(), 90, "a cell runs on h2")
    code, output = driver.wait(250)
    assert code == 0, output
    assert grids.starts(storage) == space.CELLS
    space.assert_same(storage, long_laptop)


def test_trial_15_an_unfit_node_that_joins_in_mid_grid_is_told_and_costs_no_cell(
    bed: Bed, long_laptop: Path
) -> None:
    storage = bed.shared / "results"
    bed.head("h1", "--num-cpus=1")
    bed.share("h2", "off")
    driver = space.start_grid(bed, "h1", head="h1", text=space.LONG)
    until(lambda: space.holders(storage).values(), 90, "a cell runs on h1")
    bed.worker("h2", "h1", "--num-cpus=2")
    driver.says(f"h2 ({bed.ip('h2')}) gets no more cells: storage {space.STORAGE} is not there")
    code, output = driver.wait(300)
    assert code == 0, output
    assert {*space.holders(storage).values()} == {"h1"}
    space.assert_same(storage, long_laptop)


def test_trial_16_a_gpu_that_pytorch_cannot_use_is_an_error_and_not_a_cpu(bed: Bed) -> None:
    bed.head("h1", "--num-cpus=1", "--num-gpus=0")
    bed.worker("h2", "h1", "--num-cpus=1", "--num-gpus=2")
    code, output = space.run_grid(bed, "h1", head="h1")
    assert code == 2, output
    assert f"h2 ({bed.ip('h2')}) has GPUs for Ray, but " in output
    assert "--gpus-per-trial 0" in output
    assert not has_results(bed)


def test_trial_17_a_host_that_gets_no_cells_is_named(bed: Bed, laptop: Path) -> None:
    bed.head("h1", "--num-cpus=1", "--num-gpus=0", env=FAKE)
    bed.worker("h2", "h1", "--num-cpus=1", "--num-gpus=1", env=FAKE)
    bed.env["h1"] = FAKE
    code, output = space.run_grid(bed, "h1", head="h1")
    assert code == 0, output
    assert f"no cells run on h1 ({bed.ip('h1')}): a cell asks for 1 CPU and 1 GPU" in output
    assert {*space.holders(bed.shared / "results").values()} == {"h2"}
    space.assert_same(bed.shared / "results", laptop)


def test_an_accelerator_that_is_asked_for_is_the_only_one_that_is_used(
    bed: Bed, laptop: Path
) -> None:
    bed.env["h1"] = FAKE
    bed.head("h1", "--num-cpus=0")
    for host, kind in (("h2", "A100"), ("h3", "H100")):
        named = json.dumps({f"accelerator_type:{kind}": 1})
        bed.worker(host, "h1", "--num-cpus=1", "--num-gpus=1", f"--resources={named}")
    code, output = space.run_grid(bed, "h1", "--accelerator", "L4", head="h1")
    assert code == 2, output
    assert "of the kind L4 (--accelerator); no node has that many" in output
    assert "1 CPUs, 1 GPUs (A100)" in output
    code, output = space.run_grid(bed, "h1", "--accelerator", "H100", head="h1")
    assert code == 0, output
    assert {*space.holders(bed.shared / "results").values()} == {"h3"}
    space.assert_same(bed.shared / "results", laptop)


def test_a_host_that_is_sent_sigterm_keeps_checkpoints_and_its_cells_move(
    bed: Bed, long_laptop: Path
) -> None:
    storage = bed.shared / "results"
    bed.head("h1", "--num-cpus=1")
    grace = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "20"}
    node = bed.worker("h2", "h1", "--num-cpus=1", env=grace)
    driver = space.start_grid(bed, "h1", head="h1", text=space.LONG)
    cell = until(lambda: space.in_middle(storage, "h2"), 90, "h2 is in a final training")
    node.signal(15)
    driver.says("gets no more cells: it is being drained")
    checkpoint = storage / "cells" / cell / "checkpoint.safetensors"
    done = space.epochs(storage)[cell]
    until(lambda: time.time() - checkpoint.stat().st_mtime > 3, 20, "h2 trains no more")
    assert space.epochs(storage)[cell] >= done
    code, output = driver.wait(300)
    assert code == 0, output
    assert space.holders(storage)[cell] == "h1"
    assert grids.starts(storage) == space.CELLS + 1
    space.assert_same(storage, long_laptop)
