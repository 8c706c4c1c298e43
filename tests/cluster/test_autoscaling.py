"""A cluster that has no node for a trial yet: its autoscaler brings some, and takes them away."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import space
from bed import Bed
from commands import until

from curvetune.planning.resources import LaunchOptions

WAITS = any("wait" in field.name for field in fields(LaunchOptions))
NODES = """
import json, sys, ray
ray.init(address=sys.argv[1], logging_level="CRITICAL", log_to_driver=False)
print(json.dumps(sum(node["Alive"] for node in ray.nodes()) - 1))
"""


@pytest.mark.skipif(not WAITS, reason="`curvetune grid` does not wait for nodes yet (--wait)")
def test_trial_14_a_grid_on_no_node_at_all_waits_for_the_autoscaler_and_equals_a_laptops(
    bed: Bed, laptop: Path
) -> None:
    bed.autoscaling_head("h1")
    words = ["--wait", "2m", "--gpus-per-trial", "0"]
    code, output = space.run_grid(bed, "h1", *words, head="h1", timeout_s=200)
    assert code == 0, output
    assert "waiting for" in output
    space.assert_same(bed.shared / "results", laptop)


def test_the_autoscaler_of_the_bed_brings_nodes_and_takes_them_away(bed: Bed) -> None:
    bed.autoscaling_head("h1")
    task = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="CRITICAL", log_to_driver=False)
@ray.remote(num_cpus=1)
def node():
    return ray.get_runtime_context().get_node_id()
print(len(ray.get(node.remote())))
"""
    code, output = bed.run("h1", "python", "-c", task, bed.at("h1"))
    assert code == 0, output

    def nodes() -> int:
        code, output = bed.run("h1", "python", "-c", NODES, bed.at("h1"))
        assert code == 0, output
        return int(json.loads(output.splitlines()[-1]))

    assert nodes() >= 1
    until(lambda: nodes() == 0, 90, "the idle nodes are gone")
