"""Trials 1 and 19: a grid over several hosts has a laptop's results, whoever drives it."""

from pathlib import Path

import grids
import pytest
import space
from bed import Bed


@pytest.fixture
def cluster(bed: Bed) -> Bed:
    """A head and a worker with a CPU each."""
    bed.head("h1", "--num-cpus=1")
    bed.worker("h2", "h1", "--num-cpus=1")
    return bed


@pytest.mark.parametrize("driver", ["h1", "h2"])
def test_trial_1_a_grid_driven_from_the_head_or_a_worker_runs_on_both_and_equals_a_laptops(
    cluster: Bed, laptop: Path, driver: str
) -> None:
    code, output = space.run_grid(cluster, driver, head="h1")
    assert code == 0, output
    storage = cluster.shared / "results"
    assert {*space.holders(storage).values()} == {"h1", "h2"}
    assert grids.starts(storage) == space.CELLS
    assert grids.starts(storage, "probes") == space.PROBES
    space.assert_same(storage, laptop)


def test_trial_19_two_drivers_on_two_hosts_share_a_grid_and_double_nothing(
    cluster: Bed, laptop: Path
) -> None:
    drivers = [space.start_grid(cluster, host, head="h1") for host in ("h1", "h2")]
    for driver in drivers:
        code, output = driver.wait()
        assert code == 0, output
    storage = cluster.shared / "results"
    assert grids.starts(storage) == space.CELLS
    assert grids.tracked(storage) == (space.CELLS, space.CELLS)
    space.assert_same(storage, laptop)
