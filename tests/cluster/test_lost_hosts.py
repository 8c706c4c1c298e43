"""Trial 8 and its kin: a worker dies, is replaced, is cut off; the driver dies. Nothing is lost."""

import signal
from pathlib import Path

import grids
import pytest
import space
from bed import Bed
from commands import until

pytestmark = pytest.mark.timeout(400)
LEASE = {"CURVETUNE_LEASE_S": "10"}  # a minute unless given; hosts that die take it with them
MIDDLE_S = 90.0  # until a worker is in the middle of a cell


@pytest.fixture
def cluster(bed: Bed) -> Bed:
    """A head that runs no trial, since it is not to be lost here, and a worker on each other."""
    for host in bed.hosts:
        bed.env[host] = dict(LEASE)
    bed.head("h1", "--num-cpus=0")
    for host in ("h2", "h3"):
        bed.worker(host, "h1", "--num-cpus=1")
    return bed


def middle_of_h2(bed: Bed) -> str:
    """Return a cell that h2 is in the middle of."""
    storage = bed.shared / "results"
    return until(lambda: space.in_middle(storage, "h2"), MIDDLE_S, "h2 is in a final training")


def test_trial_8_a_killed_workers_cell_moves_and_the_host_is_used_again(
    cluster: Bed, long_laptop: Path
) -> None:
    storage = cluster.shared / "results"
    driver = space.start_grid(cluster, "h1", head="h1", text=space.LONG)
    cell = middle_of_h2(cluster)
    begun = {*space.holders(storage)}
    cluster.crash("h2")
    cluster.boot("h2")
    cluster.worker("h2", "h1", "--num-cpus=1")

    def used_again() -> bool:
        now = space.holders(storage)
        return any(now[key] == "h2" for key in now.keys() - begun) or now[cell] == "h2"

    until(used_again, 120, "h2 has another cell")
    code, output = driver.wait(200)
    assert code == 0, output
    assert grids.token(storage / "cells" / cell) == 2
    assert grids.starts(storage) == space.CELLS + 1
    space.assert_same(storage, long_laptop)


def test_trial_8_a_worker_cut_off_for_a_minute_costs_no_result_and_doubles_none(
    cluster: Bed, long_laptop: Path
) -> None:
    storage = cluster.shared / "results"
    driver = space.start_grid(cluster, "h1", head="h1", text=space.LONG)
    middle_of_h2(cluster)
    cluster.cut("h2")
    with pytest.raises(AssertionError, match="not within 60 s"):
        until(lambda: driver.poll() is not None, 60, "the driver has ended")
    cluster.mend("h2")
    code, output = driver.wait(200)
    assert code == 0, output
    assert grids.tracked(storage) == (space.CELLS, space.CELLS)
    space.assert_same(storage, long_laptop)


def test_a_killed_driver_is_taken_up_by_a_driver_on_another_host(
    cluster: Bed, long_laptop: Path
) -> None:
    storage = cluster.shared / "results"
    driver = space.start_grid(cluster, "h1", head="h1", text=space.LONG)
    cell = middle_of_h2(cluster)
    driver.signal(signal.SIGKILL)
    assert driver.wait(10).code == -signal.SIGKILL
    code, output = space.run_grid(cluster, "h3", head="h1", text=space.LONG, timeout_s=250)
    assert code == 0, output
    assert grids.token(storage / "cells" / cell) == 2
    assert grids.tracked(storage) == (space.CELLS, space.CELLS)
    space.assert_same(storage, long_laptop)
