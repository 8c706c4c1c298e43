"""How many trials a cluster has room for, while its nodes come and go.

A cluster may have no node yet, or an autoscaler that brings one when it is asked. Then a grid
waits and says for what. Later the number of trials at once follows the nodes. Nodes that are being
drained, or that turned out unfit, get no more trials.
"""

import logging
import time
from collections.abc import Mapping
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
from curvetune.tune.nodes.asked import Node, living
from curvetune.tune.nodes.autoscaler import ask_for, may_bring, said

LOOK_S = 1.0  # between two looks at the nodes
MOST_TRIALS = 1000  # at once

Resources = Mapping[str, float]

logger = logging.getLogger(__name__)


@dataclass
class Notice:
    """What there is to say while no trial runs; empty if nothing. Another thread may read it.

    Args:
        text: what trials wait for.
        stage: what is done before the first one begins, and after the last one has ended.
    """

    text: str = ""
    stage: str = ""


class Room:
    """The room of the cluster that this process is connected to."""

    def __init__(self, options: LaunchOptions, notice: Notice | None = None) -> None:
        self.asked = options
        self.options = options  # with what was found out since
        self.notice = notice or Notice()
        self.closed: dict[str, str] = {}  # nodes that get no more trials, and why
        self.drained: set[str] = set()  # of them, those that are about to be taken away
        self._slots: Slots | None = None
        self._nodes: list[Node] = []
        self._looked = 0.0
        self._empty_since: float | None = None
        self._scales = False  # whether an autoscaler follows what trials wait for

    def wait(self, num_trials: int) -> Slots:
        """Return what each trial asks for, once there is room for one.

        Args:
            num_trials: how many could run at once.

        Raises:
            ConfigError: there is none, and none is to be expected.
            BackendError: there was none for as long as the options say.
        """
        began = time.monotonic()
        self._scales = not self._is_own and said().is_there
        if self._gpus_may_come():
            self.options = replace(self.options, gpus_per_trial=1.0)
        asked = False
        while not (slots := ask(_resources(self.nodes(fresh=True)), self.options)).count:
            if self._scales and not asked:
                asked = True
                may_bring(slots)  # one node; once trials wait for more, it sees that itself
            self._refuse_or_wait(self.nodes(), slots, time.monotonic() - began)
            self.notice.text = _waiting(slots, num_trials, self.nodes(), self.options)
            time.sleep(LOOK_S)
        if self._scales:
            ask_for(slots, 0)
        self.notice.text = ""
        self._slots = slots
        self._say_idle(self.nodes(), slots)
        return slots

    @property
    def slots(self) -> Slots:
        """What each trial asks for, once `wait` or `take` has found that."""
        assert self._slots is not None
        return self._slots

    def count(self) -> int:
        """Return how many trials may be started now.

        An autoscaler brings nodes for trials that wait, so all may be.
        """
        if self._scales:
            return self.options.max_concurrent or MOST_TRIALS
        return self._fitting()

    def _fitting(self) -> int:
        """Return how many trials fit on the nodes that are there."""
        return room(_resources(self.nodes()), self.options, self.slots)

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
        """Follow the nodes, and notice if there is no room for any of `wanted` trials.

        Raises:
            BackendError: there was room for no trial for too long.
        """
        if self._fitting() or not wanted:
            self._empty_since, self.notice.text = None, ""
            return
        now = time.monotonic()
        if self._empty_since is None:
            self._empty_since = now
        self.notice.text = _waiting(self.slots, wanted, self.nodes(), self.options)
        if now - self._empty_since > self._wait_s:
            raise BackendError(self._nothing_came(self.slots, now - self._empty_since))

    @property
    def _is_own(self) -> bool:
        """Whether this Ray is on this machine alone, so that no nodes will come."""
        return self.options.address is None

    @property
    def _wait_s(self) -> float:
        return WAIT_S if self.options.wait_s is None else self.options.wait_s

    def _gpus_may_come(self) -> bool:
        """Say whether trials are to wait for GPUs that an autoscaler brings, and nobody has yet."""
        asked, nodes = self.options.gpus_per_trial, _resources(self.nodes(fresh=True))
        if self._is_own or asked not in (None, "auto") or any(n.get("GPU", 0) for n in nodes):
            return False
        return self._scales and may_bring(ask(nodes, replace(self.options, gpus_per_trial=1.0)))

    def _refuse_or_wait(self, nodes: list[Node], slots: Slots, waited_s: float) -> None:
        """Return if it makes sense to wait on."""
        there = _resources(nodes)
        hopeless = self._is_own
        if not hopeless and self.options.wait_s is None:
            kind = "GPU" if slots.gpus else "CPU"
            too_small = any(node.get(kind, 0) for node in there)
            hopeless = said().cannot if self._scales else too_small
        if hopeless:
            scaler = ", nor does the autoscaler bring one that has" if self._scales else ""
            raise ConfigError(no_room(there, self.options, slots, scaler))
        if waited_s >= self._wait_s:
            raise BackendError(self._nothing_came(slots, waited_s))

    def _nothing_came(self, slots: Slots, waited_s: float) -> str:
        reasons = [*(f"{node[:8]}: {why}" for node, why in self.closed.items())]
        if not self._is_own:
            reasons += [f"the autoscaler could not start {why}" for why in said().failed]
        unfit = "".join(f"\n  {reason}" for reason in reasons)
        return (
            f"the cluster had no room for a cell, which asks for {slots}, for "
            f"{duration(waited_s)}; add such a node, wait longer with --wait, or ask for less. "
            f"Finished cells are kept; run the same command again{unfit}"
        )

    def _say_idle(self, nodes: list[Node], slots: Slots) -> None:
        """Say which nodes get no cells, and that cells train on CPUs for want of GPUs."""
        if not slots.gpus and self.options.gpus_per_trial is None and not self._is_own:
            logger.warning(
                "no node of the cluster has a GPU: cells train on CPUs; --gpus-per-trial 1 waits "
                "for GPUs"
            )
        idle = [node.host for node in nodes if not has_room(node.resources, slots)]
        if idle and self.options.address is not None:
            logger.warning(
                "no cells run on %s: a cell asks for %s, which it does not have"
                if len(idle) == 1
                else "no cells run on %s: a cell asks for %s, which they do not have",
                ", ".join(idle),
                slots,
            )


def draining() -> list[str]:
    """Return the ids of the nodes that are about to be taken away."""
    return list(ray._private.state.state.get_draining_nodes())


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
