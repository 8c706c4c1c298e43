"""Trial 18: data that only the driver has goes to each host once, however many trials run there."""

import json

from bed import ROOT, SHARED, Bed

MEGABYTES, TRIALS = 60, 6
DRIVER = """
import json, sys
from pathlib import Path
import fake_cell
from ray import cloudpickle
cloudpickle.register_pickle_by_value(fake_cell)
import numpy as np
from curvetune.config import CellConfig
from curvetune.planning.plan import build_plan
from curvetune.planning.resources import LaunchOptions
from curvetune.planning.space import Space
from curvetune.tune.launch import launch

address, storage, megabytes, trials = sys.argv[1:]
cells = tuple(CellConfig(seed=seed) for seed in range(int(trials)))
space = Space("sent", cells)
plan = build_plan(space, "d" * 64, is_done=lambda _: False, has_probe=lambda _: False)
data = np.random.default_rng(0).integers(0, 255, int(megabytes) * 10**6, dtype=np.uint8)

def run_cell(cell, digest, dataset, storage, **named):
    assert dataset.sum() == int(data_sum)
    return stand_in(cell, digest, dataset, storage, **named)

data_sum, stand_in = int(data.sum()), fake_cell.run_cell
print(launch(plan, data, Path(storage), LaunchOptions(address=address), run_cell=run_cell))
"""


def received(bed: Bed, host: str) -> int:
    """Return the bytes that a host has received over the network."""
    code, output = bed.run(host, "ip", "-s", "-j", "link", "show", "eth0")
    assert code == 0, output
    return int(json.loads(output)[0]["stats64"]["rx"]["bytes"])


def test_trial_18_data_goes_to_a_host_once_and_not_once_a_trial(bed: Bed) -> None:
    bed.head("h1", "--num-cpus=0")
    bed.worker("h2", "h1", "--num-cpus=2")
    before = received(bed, "h2")
    support = bed.python_path(str(ROOT / "tests" / "support"))
    words = bed.at("h1"), f"{SHARED}/results", str(MEGABYTES), str(TRIALS)
    code, output = bed.run("h1", "python", "-c", DRIVER, *words, env={"PYTHONPATH": support})
    assert code == 0, output
    assert output.splitlines()[-1] == "True"
    results = bed.shared / "results"
    assert [path.read_text() for path in results.glob("cells/*/FAILED.json")] == []
    assert len(list(results.glob("cells/*/DONE.json"))) == TRIALS
    sent = (received(bed, "h2") - before) / (MEGABYTES * 10**6)
    assert 1 <= sent < 1.5, sent
