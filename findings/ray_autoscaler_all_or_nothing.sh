#!/usr/bin/env bash
# Ray 2.60.0, autoscaler v2: `request_resources` with one bundle more than the node types allow
# brings no node at all, and what the types allow cannot be asked.
#
# Tasks and placement groups that wait are met one by one: the autoscaler brings what it may, and the
# rest waits. The bundles of `ray.autoscaler.sdk.request_resources` are one constraint instead. If it
# cannot be met as a whole, none of it is, and nothing is raised: `max_workers: 2` and 3 bundles give
# 0 nodes. (GetClusterStatus lists the constraint as infeasible.)
#
# Whoever would ask for no more than the limit does not find it either. `get_cluster_config()` and
# `get_max_resources_from_cluster_config()` of ray._private.state, which Ray Data and Ray Train read
# their limits from, are None with an autoscaler that has just brought nodes: the open-source one
# does not report its config (nothing in the wheel calls ReportClusterConfig).
#
# Seen on 2026-11-28: "3 bundles: 0 nodes", "2 bundles: 2 nodes", "config: None".
set -euo pipefail
work=$(mktemp -d)
head=
cleanup() {
  if [ -n "$head" ]; then kill -TERM -- "-$head" 2>/dev/null || true; sleep 3; kill -KILL -- "-$head" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q "ray[default]==2.60.0"
export PATH="$work/env/bin:$PATH" RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
id=fffffffffffffffffffffffffffffffffffffffffffffffffff00000
cat > scale.json <<JSON
{"cluster_name": "fake", "max_workers": 4, "upscaling_speed": 1.0, "idle_timeout_minutes": 5,
 "provider": {"type": "external", "launch_multiple": true, "head_node_id": "$id",
  "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"},
 "auth": {"ssh_user": "nobody"}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
 "initialization_commands": [], "setup_commands": [], "head_setup_commands": [],
 "worker_setup_commands": [], "head_start_ray_commands": [], "worker_start_ray_commands": [],
 "head_node_type": "head",
 "available_node_types": {
  "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
  "worker": {"resources": {"CPU": 1, "kind": 1, "object_store_memory": 100000000},
   "node_config": {}, "min_workers": 0, "max_workers": 2}}}
JSON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
AUTOSCALER_UPDATE_INTERVAL_S=1 RAY_FAKE_CLUSTER=1 RAY_enable_autoscaler_v2=1 \
  RAY_CLOUD_INSTANCE_ID=$id RAY_OVERRIDE_NODE_ID_FOR_TESTING=$id \
  setsid env/bin/python -m ray.scripts.scripts start --head --port="$port" --num-cpus=0 \
  --include-dashboard=false --temp-dir="$work/ray" --autoscaling-config="$work/scale.json" --block \
  > head.log 2>&1 &
head=$!
cat > ask.py <<'PY'
import sys
import time

import ray
from ray._private.state import state
from ray.autoscaler.sdk import request_resources

for _ in range(30):
    try:
        address = f"{ray.util.get_node_ip_address()}:{sys.argv[1]}"
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
        break
    except (ConnectionError, RuntimeError):
        time.sleep(2)


def nodes() -> int:
    return int(sum(n["Alive"] and n["Resources"].get("kind", 0) for n in ray.nodes()))


def asked_for(bundles: int, enough: int, seconds: float) -> int:
    request_resources(bundles=[{"CPU": 1, "kind": 1}] * bundles)
    end = time.monotonic() + seconds
    while nodes() < enough and time.monotonic() < end:
        time.sleep(1)
    print(f"{bundles} bundles: {nodes()} nodes", flush=True)
    return nodes()


none = asked_for(3, enough=1, seconds=40)
both = asked_for(2, enough=2, seconds=180)
print("config:", state.get_cluster_config())
assert (none, both) == (0, 2), (none, both)
assert state.get_cluster_config() is None
assert state.get_max_resources_from_cluster_config() is None
PY
env/bin/python ask.py "$port"
