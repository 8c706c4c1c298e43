"""What a trial asks of a cluster, and how many trials it has room for; knows nothing of Ray."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from curvetune.errors import ConfigError

Engine = Literal["graphs", "eager"]
CHECKPOINT_EVERY = 5  # epochs
HANG_AFTER_S = 3600.0
WAIT_S = 1800.0  # a GPU node of a cloud is there in 5 to 15 minutes
ACCELERATOR = "accelerator_type:"  # what Ray calls the kind of a node's GPUs, before its name


@dataclass(frozen=True)
class LaunchOptions:
    """Where and with what trials run; nothing here decides a number.

    Args:
        address: of a running cluster, host:port or `auto`; None starts Ray on this machine.
        gpus_per_trial: None is 1 where there are GPUs, else 0; a fraction shares a GPU; `auto` is
            measured before the trials start (tune/gpu_memory.py).
        cpus_per_trial: None is 1, or less where there are more GPU slots than cores.
        max_concurrent: None is as many as the cluster has room for.
        checkpoint_every: epochs between two checkpoints.
        hang_after_s: how long a cell may go without the end of an epoch.
        data_cpus: kept free of trials for Ray Data, which decodes streamed images there. None is
            the CPUs of nodes that have no room for a trial; 0 lets each trial decode for itself.
        accelerator: the kind of GPU that trials run on, as Ray names it: `H100`; None is any.
        wait_s: how long a cluster may have no room for a single trial. None is `WAIT_S` if its
            autoscaler may bring some, or it has nodes of no kind yet; else such an ask is refused.
        engine: how steps are run: "eager" one by one, "graphs" from CUDA graphs where they can be.
    """

    address: str | None = None
    gpus_per_trial: float | Literal["auto"] | None = None
    cpus_per_trial: float | None = None
    max_concurrent: int | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    hang_after_s: float = HANG_AFTER_S
    data_cpus: int | None = None
    accelerator: str | None = None
    wait_s: float | None = None
    engine: Engine = "graphs"


@dataclass(frozen=True)
class Slots:
    """What each trial asks of Ray, and how many fit at once."""

    cpus: float
    gpus: float
    count: int
    accelerator: str | None = None

    @property
    def bundle(self) -> dict[str, float]:
        """The same in Ray's words, for one trial."""
        kind = {} if self.accelerator is None else {f"{ACCELERATOR}{self.accelerator}": 0.001}
        asked = {"CPU": self.cpus, "GPU": self.gpus, **kind}
        return {name: amount for name, amount in asked.items() if amount}

    def __str__(self) -> str:
        """Say what one trial asks for."""
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        if not self.gpus:
            return cpus
        kind = "" if self.accelerator is None else f" ({self.accelerator})"
        return f"{cpus} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}{kind}"


def fit_slots(nodes: Sequence[Mapping[str, float]], options: LaunchOptions) -> Slots:
    """Return what a trial asks for, and how many fit on these nodes ({"CPU": 8, "GPU": 2}, …).

    `auto` that nobody has measured is a whole GPU.

    Raises:
        ConfigError: no node has room for one trial.
    """
    slots = ask(nodes, options)
    if slots.count == 0:
        raise ConfigError(no_room(nodes, options, slots))
    return slots


def ask(nodes: Sequence[Mapping[str, float]], options: LaunchOptions) -> Slots:
    """Return the same as `fit_slots`, also where there is no room: then `count` is 0."""
    gpus = options.gpus_per_trial
    if gpus is None or gpus == "auto":
        wanted = options.accelerator is not None or any(node.get("GPU", 0) for node in nodes)
        gpus = 1.0 if wanted else 0.0
    cpus = options.cpus_per_trial
    if cpus is None:
        free = _without(nodes, options.data_cpus or 0)
        cpus = min([1.0, *(_even_share(node, gpus) for node in free)])
    slots = Slots(cpus, gpus, 0, options.accelerator)
    return replace(slots, count=room(nodes, options, slots))


def room(nodes: Sequence[Mapping[str, float]], options: LaunchOptions, slots: Slots) -> int:
    """Return how many trials that ask for `slots` fit on these nodes, as far as options allow."""
    count = sum(_room(node, slots) for node in _without(nodes, options.data_cpus or 0))
    return min(count, options.max_concurrent or count)


def has_room(node: Mapping[str, float], slots: Slots) -> bool:
    """Say whether one trial fits on a node."""
    return _room(node, slots) > 0


def no_room(
    nodes: Sequence[Mapping[str, float]], options: LaunchOptions, slots: Slots, more: str = ""
) -> str:
    """Say that no node has room for one trial, and what the nodes have.

    Args:
        more: what else there is to say of the nodes.
    """
    nodes = _without(nodes, options.data_cpus or 0)
    found = "; ".join(_described(node) for node in nodes) or "there are no nodes"
    kind = "" if slots.accelerator is None else f" of the kind {slots.accelerator} (--accelerator)"
    return (
        f"a trial asks for {slots.cpus:g} CPUs (--cpus-per-trial) and {slots.gpus:g} GPUs "
        f"(--gpus-per-trial){kind}; no node has that many: {found}"
        f"{_kept_free(options)}{more}. Ask for less."
    )


def cpus_for_data(
    nodes: Sequence[Mapping[str, float]], options: LaunchOptions, slots: Slots
) -> float:
    """Return how many CPUs of the cluster decode images for each trial, beside those of trials."""
    there = options.data_cpus
    if there is None:
        idle = [node for node in nodes if not has_room(node, slots)]
        there = math.floor(sum(node.get("CPU", 0) for node in idle))
    return max(1.0, there // slots.count) if there else 0.0


def _without(nodes: Sequence[Mapping[str, float]], cpus: float) -> list[Mapping[str, float]]:
    """Return what is left of the nodes for trials: those without a GPU give CPUs first."""
    if not cpus:
        return list(nodes)
    left: list[Mapping[str, float]] = []
    for node in sorted(nodes, key=lambda node: (node.get("GPU", 0), -node.get("CPU", 0))):
        taken = min(cpus, math.floor(node.get("CPU", 0)))
        cpus -= taken
        left.append({**node, "CPU": node.get("CPU", 0) - taken} if taken else node)
    return left


def _kept_free(options: LaunchOptions) -> str:
    return (
        f", with {options.data_cpus} CPUs kept for images (--data-cpus)"
        if options.data_cpus
        else ""
    )


def _even_share(node: Mapping[str, float], gpus: float) -> float:
    """Return the CPUs per trial with which every GPU slot of `node` can be used."""
    slots = math.floor(node.get("GPU", 0) / gpus) if gpus else 0
    return math.floor(100 * node.get("CPU", 0) / slots) / 100 if slots else 1.0


def _room(node: Mapping[str, float], slots: Slots) -> int:
    """Return how many trials fit on `node`; the slack absorbs fractions such as 1/3."""
    if slots.accelerator is not None and not node.get(f"{ACCELERATOR}{slots.accelerator}"):
        return 0
    asked = {"CPU": slots.cpus, "GPU": slots.gpus}
    return min(int(node.get(key, 0) / n + 1e-6) for key, n in asked.items() if n > 0)


def _described(node: Mapping[str, float]) -> str:
    kinds = sorted(name.removeprefix(ACCELERATOR) for name in node if name.startswith(ACCELERATOR))
    named = f" ({', '.join(kinds)})" if kinds else ""
    return f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs{named}"
