"""How many trials a cluster has room for, while its nodes come and go.

A cluster may have no node yet, or an autoscaler that brings one when it is asked. Then a grid
waits and says for what. Later the number of trials at once follows the nodes. Nodes that are being
drained, or that turned out unfit, get no more trials.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import ray

from curvetune.errors import BackendError, ConfigError
from curvetune.planning.resources import (
    WAIT_S,
    LaunchOptions,
    Slots,
    ask,
    has_room,
    no_room,
    room,
)
from curvetune.system.units import duration
from curvetune.tune.nodes import Node, living

LOOK_S = 1.0  # between two looks at the nodes
MOST_NODES = 1000  # of a kind that the autoscaler may bring without a limit

Resources = Mapping[str, float]

logger = logging.getLogger(__name__)


@dataclass
class Notice:
    """What there is to say while trials wait; empty if they do not. Another thread may read it."""

    text: str = ""


class Room:
    """The room of the cluster that this process is connected to."""

    def __init__(self, options: LaunchOptions, notice: Notice | None = None) -> None:
        self.options = options
        self.notice = notice or Notice()
        self.closed: dict[str, str] = {}  # nodes that get no more trials, and why
        self.drained: set[str] = set()  # of them, those that are about to be taken away
        self._slots: Slots | None = None
        self._nodes: list[Node] = []
        self._looked = 0.0
        self._empty_since: float | None = None
        self._asked_for = 0

    def wait(self, num_cells: int) -> Slots:
        """Return what each trial asks for, once there is room for one.

        Raises:
            ConfigError: there is none, and none is to be expected.
            BackendError: there was none for as long as the options say.
        """
        began = time.monotonic()
        while True:
            nodes, may_come = self.nodes(fresh=True), nodes_that_may_come()
            slots = ask([*_resources(nodes), *may_come], self.options)
            count = room(_resources(nodes), self.options, slots)
            if count:
                self.notice.text = ""
                self._slots = replace(slots, count=count)
                self._say_idle(nodes, slots)
                return self._slots
            self._refuse_or_wait(nodes, may_come, slots, time.monotonic() - began)
            self.want(num_cells, slots)
            self.notice.text = _waiting(slots, num_cells, nodes, self.options)
            time.sleep(LOOK_S)

    def count(self) -> int:
        """Return how many trials fit now."""
        assert self._slots is not None
        return room(_resources(self.nodes()), self.options, self._slots)

    def take(self, options: LaunchOptions) -> Slots:
        """Let trials ask for something else from now on.

        Raises:
            ConfigError: no node has that much.
        """
        slots = ask(_resources(self.nodes(fresh=True)), options)
        if not slots.count:
            raise ConfigError(no_room(_resources(self.nodes()), options, slots))
        self.options, self._slots = options, slots
        return slots

    def nodes(self, *, fresh: bool = False) -> list[Node]:
        """Return the nodes that may get trials, as of a second ago at most."""
        now = time.monotonic()
        if fresh or now - self._looked >= LOOK_S:
            self._looked = now
            self._nodes = living()
            for node in set(draining()) - self.drained:
                self.drained.add(node)
                self.close(node, "it is being drained; its cells keep a checkpoint and move")
            self._nodes = [node for node in self._nodes if node.id not in self.closed]
        return self._nodes

    def close(self, node: str, why: str) -> None:
        """Give a node no more trials."""
        if node not in self.closed:
            host = next((n.host for n in self._nodes if n.id == node), node)
            logger.warning("%s gets no more cells: %s", host, why)
            self.closed[node] = why
            self._nodes = [n for n in self._nodes if n.id != node]

    def look(self, wanted: int) -> None:
        """Follow the nodes: ask the autoscaler for `wanted` trials' room, and notice its lack.

        Raises:
            BackendError: there was room for no trial for too long.
        """
        assert self._slots is not None
        count = self.count()
        self.want(wanted, self._slots)
        if count or not wanted:
            self._empty_since, self.notice.text = None, ""
            return
        now = time.monotonic()
        if self._empty_since is None:
            self._empty_since = now
        self.notice.text = _waiting(self._slots, wanted, self.nodes(), self.options)
        if now - self._empty_since > self._wait_s:
            raise BackendError(self._nothing_came(self._slots, now - self._empty_since))

    def want(self, num_trials: int, slots: Slots) -> None:
        """Tell an autoscaler how many trials could run at once; without one it changes nothing."""
        num_trials = min(num_trials, self.options.max_concurrent or num_trials, MOST_NODES)
        if num_trials == self._asked_for or not _autoscales():
            return
        from ray.autoscaler.sdk import request_resources

        self._asked_for = num_trials
        request_resources(bundles=[slots.bundle] * num_trials)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Want nothing more of the autoscaler when the block ends."""
        try:
            yield
        finally:
            if self._asked_for:
                with contextlib.suppress(Exception):  # a cluster that is lost brings no nodes
                    self.want(0, Slots(1, 0, 0))

    @property
    def _wait_s(self) -> float:
        return WAIT_S if self.options.wait_s is None else self.options.wait_s

    def _refuse_or_wait(
        self, nodes: list[Node], may_come: list[Resources], slots: Slots, waited_s: float
    ) -> None:
        """Return if it makes sense to wait on."""
        there = _resources(nodes)
        if self.options.wait_s is None or self.options.address is None:
            brought = any(has_room(node, slots) for node in may_come)
            kind = "GPU" if slots.gpus else "CPU"
            too_small = any(node.get(kind, 0) for node in [*there, *may_come])
            if self.options.address is None or (too_small and not brought):
                raise ConfigError(no_room([*there, *may_come], self.options, slots))
        if waited_s >= self._wait_s:
            raise BackendError(self._nothing_came(slots, waited_s))

    def _nothing_came(self, slots: Slots, waited_s: float) -> str:
        unfit = "".join(f"\n  {node[:8]}: {why}" for node, why in self.closed.items())
        return (
            f"the cluster had no room for a cell, which asks for {slots}, for "
            f"{duration(waited_s)}; add such a node, wait longer with --wait, or ask for less. "
            f"Finished cells are kept; run the same command again{unfit}"
        )

    def _say_idle(self, nodes: list[Node], slots: Slots) -> None:
        """Say which nodes get no cells."""
        idle = [node.host for node in nodes if not has_room(node.resources, slots)]
        if idle and self.options.address is not None:
            logger.warning(
                "no cells run on %s: a cell asks for %s, which it does not have"
                if len(idle) == 1
                else "no cells run on %s: a cell asks for %s, which they do not have",
                ", ".join(idle),
                slots,
            )


def nodes_that_may_come() -> list[Resources]:
    """Return what an autoscaler may bring, one entry for each node; none if there is none."""
    config = ray._private.state.state.get_cluster_config()
    if config is None:
        return []
    brought: list[Resources] = []
    for group in config.node_group_configs:
        count = MOST_NODES if group.max_count < 0 else group.max_count
        brought += [dict(group.resources)] * min(count, MOST_NODES)
    return brought


def draining() -> list[str]:
    """Return the ids of the nodes that are about to be taken away."""
    return list(ray._private.state.state.get_draining_nodes())


def _autoscales() -> bool:
    return ray._private.state.state.get_cluster_config() is not None


def _resources(nodes: list[Node]) -> list[Resources]:
    return [node.resources for node in nodes]


def _waiting(slots: Slots, wanted: int, nodes: list[Node], options: LaunchOptions) -> str:
    """Say what is waited for, and how much of it is there."""
    kind = "GPU" if slots.gpus else "CPU"
    each = slots.gpus or slots.cpus
    wanted = min(wanted, options.max_concurrent or wanted)
    there = sum(node.resources.get(kind, 0) for node in nodes)
    name = f"{slots.accelerator} GPU" if slots.accelerator else kind
    return f"waiting for {wanted * each:g} {name}s, {there:g} there"
