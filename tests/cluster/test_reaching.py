"""Trials 2, 9 and 22: a host without a node, a head that is lost, and what others reach."""

import json
import re
import signal
from pathlib import Path

import pytest
import space
from bed import Bed
from commands import until

pytestmark = pytest.mark.timeout(500)


def test_trial_2_a_driver_on_a_host_without_a_node_is_told_so_in_seconds(bed: Bed) -> None:
    bed.head("h1", "--num-cpus=1")
    ran = bed.run("h3", *space.arguments(bed, head="h1"))
    assert ran.code == 5, ran.output
    (line,) = (line for line in ran.output.splitlines() if line.startswith("error:"))
    assert "no node of that cluster runs on this host" in line
    assert f"(its nodes: {bed.ip('h1')})" in line
    assert f"curvetune submit SPACE --address http://{bed.ip('h1')}:8265" in line
    doctor = bed.run("h3", "curvetune", "doctor", "--address", bed.at("h1"), "--json")
    checks = json.loads(doctor.output[doctor.output.index("{\n") :])["checks"]
    (ray,) = (check for check in checks if check["name"] == "ray")
    assert ray["status"] == "fail"
    assert "no node of that cluster runs on this host" in ray["found"]


KILL = """
import os
from pathlib import Path
for path in Path("/proc").glob("[0-9]*/comm"):  # of this host alone
    if path.read_text().strip() == "gcs_server":
        os.kill(int(path.parent.name), 9)
"""


@pytest.mark.parametrize("driver", ["h1", "h2"])
def test_trial_9_a_killed_head_is_exit_5_soon_and_a_new_head_goes_on(
    bed: Bed, long_laptop: Path, driver: str
) -> None:
    storage = bed.shared / "results"
    bed.head("h1", "--num-cpus=1" if driver == "h1" else "--num-cpus=0")
    bed.worker("h2", "h1", "--num-cpus=1")
    grid = space.start_grid(bed, driver, head="h1", text=space.LONG)
    until(lambda: space.in_middle(storage, "h2"), 120, "h2 is in a final training")
    bed.run("h1", "python", "-c", KILL)
    code, output = grid.wait(50)  # Ray's own end comes after 60 s
    assert code == 5, output
    assert re.search(r"the head of the cluster at \S+ does not answer since \d\d:\d\d:\d\d", output)
    assert "finished cells are in the storage; run the same command again" in output
    for host in ("h1", "h2"):
        bed.crash(host)
        bed.boot(host)
    bed.head("h1", "--num-cpus=1")
    bed.worker("h2", "h1", "--num-cpus=1")
    code, output = space.run_grid(bed, driver, head="h1", text=space.LONG, timeout_s=250)
    assert code == 0, output
    space.assert_same(storage, long_laptop)


LISTENING = """
import sys
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in open(table).readlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            print("port", int(words[1].rpartition(":")[2], 16))
"""
TRY = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 2).close()
        print("open", port)
    except OSError:
        print("closed", port)
"""


def test_trial_22_nothing_of_a_grid_on_one_host_is_reached_from_another(bed: Bed) -> None:
    """All of the host's ports are tried while trials run, MLflow's pages beside them."""
    grid = space.start_grid(bed, "h1", head=None, text=space.LONG)
    results = bed.shared / "results"
    until(lambda: [*results.glob("probes/*/history.jsonl")], 200, "a probe trains")
    ui = bed.start("h1", "curvetune", "ui", "--storage", space.STORAGE, env={"BROWSER": "true"})
    until(lambda: "http://127.0.0.1" in ui.output, 120, "MLflow's pages are there")
    ran = bed.run("h1", "python", "-c", LISTENING)
    ports = re.findall(r"^port (\d+)$", ran.output, re.MULTILINE)
    assert len(ports) >= 5, ran.output  # GCS, raylet twice, driver, worker
    tried = bed.run("h2", "python", "-c", TRY, bed.ip("h1"), *ports)
    assert re.findall(r"^(closed|open) ", tried.output, re.MULTILINE) == ["closed"] * len(ports)
    assert not (bed.home("h1") / ".ray" / "auth_token").exists()
    # the same probe does reach what listens for others
    with_ray = bed.head("h3", "--num-cpus=0")
    reached = bed.run("h2", "python", "-c", TRY, bed.ip("h3"), "6379")
    assert "open 6379" in reached.output
    for process in (ui, grid, with_ray):
        process.signal(signal.SIGKILL)
