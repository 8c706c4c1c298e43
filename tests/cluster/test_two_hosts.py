"""Trials 1, 19 and 21: a grid over two hosts has a laptop's results, whoever drives or looks."""

from collections.abc import Iterator
from pathlib import Path

import grids
import pytest
import space
from bed import SHARED, Bed


@pytest.fixture(scope="module")
def cluster(session_bed: Bed, laptop: Path) -> Iterator[Bed]:
    """A head and a worker with a CPU each, for all tests here: none of them hurts it."""
    session_bed.head("h1", "--num-cpus=1")
    session_bed.worker("h2", "h1", "--num-cpus=1")
    yield session_bed
    session_bed.reset()


def run_from(bed: Bed, *drivers: str) -> Path:
    """Run the grid from each of `drivers` at once in a storage of theirs; return that."""
    name = "-".join(drivers)
    running = [
        space.start_grid(bed, host, head="h1", storage=f"{SHARED}/{name}") for host in drivers
    ]
    for process in running:
        code, output = process.wait(200)
        assert code == 0, output
    return bed.shared / name


@pytest.fixture(scope="module")
def from_head(cluster: Bed) -> Path:
    return run_from(cluster, "h1")


def test_trial_1_a_grid_driven_from_the_head_runs_on_both_hosts_and_equals_a_laptops(
    from_head: Path, laptop: Path
) -> None:
    assert {*space.holders(from_head).values()} == {"h1", "h2"}
    assert grids.starts(from_head) == space.CELLS
    assert grids.starts(from_head, "probes") == space.PROBES
    space.assert_same(from_head, laptop)


def test_trial_1_a_grid_driven_from_a_worker_equals_a_laptops(cluster: Bed, laptop: Path) -> None:
    storage = run_from(cluster, "h2")
    assert grids.starts(storage) == space.CELLS
    space.assert_same(storage, laptop)


def test_trial_19_two_drivers_on_two_hosts_share_a_grid_and_double_nothing(
    cluster: Bed, laptop: Path
) -> None:
    storage = run_from(cluster, "h1", "h2")
    assert grids.starts(storage) == space.CELLS
    assert grids.tracked(storage) == (space.CELLS, space.CELLS)
    space.assert_same(storage, laptop)


def test_trial_21_the_database_of_the_storage_is_the_same_from_another_host(
    cluster: Bed, from_head: Path
) -> None:
    words = ["curvetune", "sync", "tiny", "--storage"]
    code, output = cluster.run("h2", *words, f"{SHARED}/{from_head.name}")
    assert code == 0, output
    assert "0 points sent" in output
    assert "moved" not in output


def test_trial_21_a_host_that_has_the_storage_at_another_place_says_so(
    cluster: Bed, from_head: Path
) -> None:
    cluster.share("h3", "off")
    elsewhere = str(from_head)  # the same folder, by the path that it has outside of the hosts
    code, output = cluster.run("h3", "curvetune", "sync", "tiny", "--storage", elsewhere)
    assert code == 0, output
    assert f"no longer those in {SHARED}/{from_head.name}" in output, output
    assert grids.tracked(from_head) == (space.CELLS, space.CELLS)
