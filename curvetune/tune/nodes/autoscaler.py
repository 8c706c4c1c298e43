"""The autoscaler of a cluster, if it has one: what it is asked for, and what it says of that.

Ray has an interface for what an autoscaler may bring at most (`get_cluster_config`), but none of
the open ones fills it in: it is empty with `ray up` and KubeRay. So it is asked for a node, and
says whether it has such a kind.
"""

import time
from dataclasses import dataclass

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2

from curvetune.planning.resources import Slots

ANSWER_S = 20.0  # it looks every 5 s


@dataclass(frozen=True)
class Said:
    """What the autoscaler said last.

    Args:
        version: rises with every look that it takes; 0 if there is no autoscaler.
        cannot: whether it has no kind of node that would have room for what it is asked for.
        failed: why nodes could not be started, each in a line.
    """

    version: int
    cannot: bool
    failed: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        """Whether the cluster has an autoscaler."""
        return self.version > 0


def said() -> Said:
    """Return what the autoscaler of the cluster says now."""
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    reply = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
    reply.ParseFromString(client.get_cluster_status())
    state = reply.autoscaling_state
    failed = [f"{one.ray_node_type_name}: {one.reason}" for one in state.failed_instance_requests]
    return Said(
        state.autoscaler_state_version,
        len(state.infeasible_cluster_resource_constraints) > 0,
        tuple(failed),
    )


def ask_for(slots: Slots, num_trials: int) -> None:
    """Ask for room for so many trials at once, in place of what this cluster was asked before."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[slots.bundle] * num_trials)


def may_bring(slots: Slots) -> bool:
    """Ask for room for one trial; say whether the autoscaler has such a kind of node."""
    before = said()
    if not before.is_there:
        return False
    ask_for(slots, 1)
    end = time.monotonic() + ANSWER_S
    while time.monotonic() < end:  # the look after the next one has certainly seen it
        if (now := said()).version >= before.version + 2:
            return not now.cannot
        time.sleep(0.2)
    return True
