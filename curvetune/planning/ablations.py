"""The paper's ablations: built-in spaces named ablate-NAME, which share probes with each other."""

from dataclasses import replace

from curvetune.errors import ConfigError, nearest
from curvetune.planning.plan import Plan
from curvetune.planning.selection import Selection, selected_space
from curvetune.planning.space import spaces_folder

PREFIX = "ablate-"
TIMED = ("skip-layers",)  # whose question is also one of time


def ablations() -> tuple[str, ...]:
    """Return the names of all ablations."""
    names = (path.stem.removeprefix(PREFIX) for path in spaces_folder().glob(f"{PREFIX}*.yaml"))
    return tuple(sorted(names))


def ablation_space(name: str) -> str:
    """Return the search space of an ablation.

    Raises:
        ConfigError: there is no such ablation.
    """
    if name not in (found := ablations()):
        raise ConfigError(
            f"unknown ablation {name!r}{nearest(name, found)}; allowed are {', '.join(found)}"
        )
    return PREFIX + name


def shared_probes(plan: Plan, selection: Selection) -> dict[str, int]:
    """Return how many probes of an ablation's plan each other ablation has as well.

    The others are taken with the same profile, seeds and `--set`, and with all of their methods;
    one that these do not fit is left out. A space that is no ablation shares with none.
    """
    mine = {probe.probe_id for probe in plan.probes}
    shared = {}
    for name in ablations() if selection.space.startswith(PREFIX) else ():
        if PREFIX + name == selection.space:
            continue
        try:
            cells = selected_space(replace(selection, space=PREFIX + name, methods=())).cells
        except ConfigError:
            continue
        shared[name] = len(mine & {cell.probe_id(plan.digest) for cell in cells})
    return shared
