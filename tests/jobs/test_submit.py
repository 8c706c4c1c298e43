"""A grid that is sent to a real head, which has a dashboard, a token, and no curvetune."""

from pathlib import Path

import grids
import pytest
import ray_heads

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(ray_heads.why_not() is not None, reason=str(ray_heads.why_not())),
]
ONE_CELL = (
    *("submit", "digits", "--profile", "smoke", "--methods", "cross-entropy", "--seeds", "0"),
    *("--set", "noise_rate=0", "--set", "imbalance=1"),
)


def test_a_grid_that_is_sent_ends_with_the_table_and_the_exit_code_of_a_laptop(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "results"
    with ray_heads.cluster() as cluster:
        done = cluster.run(*ONE_CELL, "--storage", str(storage))
        assert done.returncode == 0, done.stdout
        assert "digits: mean accuracy (MA, %) over 1 bias setting" in done.stdout
        again = cluster.run(*ONE_CELL, "--storage", str(storage))
        assert again.returncode == 0, again.stdout
        assert "all 1 cells are done; nothing to run" in again.stdout
        log = cluster.run("logs", "digits")
        status = cluster.run("status", "digits")
    assert len(grids.results(storage)) == 1
    assert "all 1 cells are done" in log.stdout
    assert "digits: 1 cells: 1 done" in status.stdout
    assert status.stdout.count("SUCCEEDED") == 2
    assert ray_heads.TOKEN not in done.stdout + again.stdout + log.stdout + status.stdout
