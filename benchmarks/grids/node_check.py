"""Claim: asking every node of a cluster whether it can run trials takes under 3 s for 8 nodes.

    python -m benchmarks.grids.node_check [--nodes 8] [--repeats 5]

Eight nodes of Ray on this machine share one storage, as over NFS. Each repeat is a driver of its
own, since a node that was asked before has a worker at hand: the time from the question to the last
answer, with what the driver reads back. What goes to Ray is exactly what `curvetune grid` asks.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import append, quartiles

ASK = """
import sys, time
from pathlib import Path
from curvetune.tune.cluster import connected
from curvetune.tune.nodes.asked import asking, check_nodes, living

address, storage = sys.argv[1:]
with connected(address), asking(Path(storage), "bench", gpus=False, files=()) as question:
    nodes = living()
    start = time.perf_counter()
    check_nodes(nodes, question, Path(storage))
    print(len(nodes), time.perf_counter() - start)
"""


def main() -> None:
    """Start the nodes, ask them some times, and keep what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        for _ in range(chosen.nodes - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        time.sleep(5)  # until the nodes' own processes are up
        with tempfile.TemporaryDirectory() as storage:
            times = [_asked(cluster.address, Path(storage), chosen) for _ in range(chosen.repeats)]
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    low, median, high = quartiles(times)
    print(f"{chosen.nodes} nodes: {median:.2f} s ({low:.2f} to {high:.2f}), n {len(times)}")
    numbers = {"n": len(times), "median_s": median, "q1_s": low, "q3_s": high}
    append([{"benchmark": "node_check", "nodes": chosen.nodes, **numbers}])


def _asked(address: str, storage: Path, chosen: argparse.Namespace) -> float:
    """Return the seconds that a new driver needs to ask every node."""
    words = [sys.executable, "-c", ASK, address, str(storage)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    nodes, seconds = done.stdout.split()
    if int(nodes) != chosen.nodes:
        raise RuntimeError(f"{nodes} of {chosen.nodes} nodes are there")
    return float(seconds)


if __name__ == "__main__":
    main()
