"""The table that `curvetune plan` prints: one row per bias setting."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from curvetune.grids.labels import bias_words, setting_of, setting_text
from curvetune.planning.plan import Plan, PlannedCell

NUMBERS = ("cells done", "cells to run", "probes stored", "probes to run", "cells per probe")


def print_plan(plan: Plan, console: Console) -> None:
    """Print how many cells and probes of each bias setting are done, stored and to be run."""
    rows: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in plan.cells:
        rows.setdefault(planned_bias(plan, cell), []).append(cell)
    table = Table(title=plan.name, title_justify="left")
    table.add_column("imbalance", justify="right", no_wrap=True)
    table.add_column("noise", no_wrap=True)
    for name in NUMBERS:
        table.add_column(name, justify="right")
    for setting, cells in rows.items():
        table.add_row(*setting, *_counts(plan, cells))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", "", *_counts(plan, plan.cells))
    console.print(table)
    console.print(_summary(plan), highlight=False)


def print_shared(shared: Mapping[str, int], console: Console) -> None:
    """Print how many probes an ablation has in common with each of the others."""
    if shared:
        parts = [f"{n} with {name}" for name, n in sorted(shared.items(), key=lambda s: -s[1])]
        console.print(f"probes in common with the other ablations: {', '.join(parts)}")


def planned_bias(plan: Plan, cell: PlannedCell) -> tuple[str, str]:
    """Return imbalance and noise of a cell of a plan, in words."""
    sizes = None if plan.sizes is None else plan.sizes.train
    return bias_words(setting_of(cell.config.model_dump(mode="json"), sizes))


def planned_settings(plan: Plan) -> list[str]:
    """Return the settings of a plan, a line each."""
    sizes = None if plan.sizes is None else plan.sizes.train
    configs = (cell.config.model_dump(mode="json") for cell in plan.cells)
    return [*dict.fromkeys(setting_text(setting_of(config, sizes)) for config in configs)]


def _counts(plan: Plan, cells: Sequence[PlannedCell]) -> list[str]:
    readers = Counter(cell.probe_id for cell in cells if cell.probe_id is not None)
    states = Counter(probe.state for probe in plan.probes if probe.probe_id in readers)
    done = sum(cell.done for cell in cells)
    numbers = [done, len(cells) - done, states["stored"], states["to run"]]
    return [*map(str, numbers), _span(list(readers.values()))]


def _span(numbers: Sequence[int]) -> str:
    """Return "4", or "1–4" if they differ, or a dash if there are none."""
    if not numbers:
        return "–"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _summary(plan: Plan) -> str:
    n = plan.counts()
    if not plan.left:
        return f"all {n['cells_total']} cells are done; nothing would run"
    probes = f"{n['probes_to_run']} probe" + ("s" if n["probes_to_run"] != 1 else "")
    cached = f", {n['cells_cached']} of them cached (their probe is stored)"
    return (
        f"{n['cells_total']} cells: {n['cells_done']} done, {n['cells_to_run']} to run"
        f"{cached if n['cells_cached'] else ''}\n"
        f"would train {probes} and {n['cells_to_run']} cells; nothing was started"
    )
