"""Plans of grids to price."""

from collections.abc import Sequence
from typing import Any

from storage_fixtures import DIGEST, make_cells

from curvetune.config import CellConfig
from curvetune.planning.plan import Plan, build_plan
from curvetune.planning.space import Space

CE, CURVENET = {"name": "cross-entropy"}, {"name": "curvenet"}


def cells_of(
    *methods: dict[str, Any], seeds: Sequence[int] = (0,), **rest: Any
) -> list[CellConfig]:
    return make_cells(methods or (CE,), (1,), (0.0,), seeds, **rest)


def plan_of(cells: Sequence[CellConfig], *, stored: Sequence[str | None] = ()) -> Plan:
    return build_plan(
        Space("small", tuple(cells)),
        DIGEST,
        is_done=lambda _: False,
        has_probe=lambda probe_id: probe_id in stored,
    )
