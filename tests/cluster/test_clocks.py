"""Trial 20: a clock that is an hour ahead changes no result and no estimate."""

import json
import shutil
from pathlib import Path

import pytest
import space
from bed import Bed
from commands import until

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="the shim of clocks needs cc")


def test_trial_20_a_clock_an_hour_ahead_changes_no_result_and_no_estimate(
    bed: Bed, long_laptop: Path
) -> None:
    bed.skew("h2", 3600)  # which trains
    bed.skew("h3", 3600)  # from where somebody looks
    bed.head("h1", "--num-cpus=0")
    bed.worker("h2", "h1", "--num-cpus=2")
    storage = bed.shared / "results"
    driver = space.start_grid(bed, "h1", head="h1", text=space.LONG)
    until(lambda: space.in_middle(storage, "h2"), 90, "h2 is in a final training")
    for host in ("h1", "h3"):
        words = ["curvetune", "status", "long", "--json", "--storage", space.STORAGE]
        code, output = bed.run(host, *words)
        assert code == 0, output
        status = space.outputs(output)
        running = [cell for cell in status["cells"] if cell["state"] == "running"]
        assert running, json.dumps(status)
        assert all(cell["seconds_left"] < 600 for cell in running), json.dumps(running)
    code, output = driver.wait()
    assert code == 0, output
    assert "1 h" not in output
    space.assert_same(storage, long_laptop)
