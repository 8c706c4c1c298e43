"""Which cells of a recorded grid are to be tried again: those whose last try failed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from curvetune.errors import ConfigError
from curvetune.planning.plan import Plan, build_plan, recorded_cell
from curvetune.planning.space import Space


def plan_retry(
    name: str,
    grid: Mapping[str, Any],
    *,
    failed_as: Collection[str],
    is_done: Callable[[str], bool],
    failure: Callable[[str], Mapping[str, Any] | None],
    has_probe: Callable[[str], bool],
) -> Plan:
    """Return the failed cells of a grid as a plan of their own.

    A cell counts as failed until it is done, also if a try after that was interrupted: so running
    the same command again goes on.

    Args:
        grid: the content of grids/<name>.json.
        failed_as: kinds of failure; all kinds if empty.
        is_done: says of a cell's address whether its result is in the storage.
        failure: returns for a cell's address why its last try failed, or None.
        has_probe: says of a probe's address whether its curves are in the storage.

    Raises:
        ConfigError: this version of curvetune would run another cell than the one that failed.
    """
    digest = str(grid["data_digest"])

    def is_chosen(cell_id: str) -> bool:
        why = None if is_done(cell_id) else failure(cell_id)
        return why is not None and (not failed_as or why.get("kind", "other") in failed_as)

    chosen = [entry for entry in grid["cells"] if is_chosen(entry["cell_id"])]
    cells = tuple(
        recorded_cell(entry, digest, name, str(grid.get("command", ""))) for entry in chosen
    )
    plan = build_plan(Space(name, cells), digest, is_done=lambda _: False, has_probe=has_probe)
    return replace(plan, is_part=True)


def check_data(plan: Plan, digest: str, data_dir: Path | None) -> None:
    """Refuse other data than the grid's: what comes of it would be another cell.

    Raises:
        ConfigError: its content is another.
    """
    if digest != plan.digest:
        name = plan.cells[0].config.data.name
        raise ConfigError(
            f"the data in {data_dir or 'the default place'} is not what grid {plan.name!r} "
            f"was run on (digest {digest[:12]}, not {plan.digest[:12]}); give the folder of that "
            f"{name} with --data-dir"
        )
