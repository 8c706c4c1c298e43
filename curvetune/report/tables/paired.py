"""The table of `curvetune report --table significance`, and of `curvetune compare`: pairs."""

from collections.abc import Sequence
from typing import Any

from curvetune.analysis.aggregate import scores
from curvetune.analysis.bootstrap import FEWEST
from curvetune.analysis.seeds_needed import MOST
from curvetune.analysis.signed_rank import smallest_p
from curvetune.analysis.significance import Paired, Unit, against, all_pairs
from curvetune.errors import ConfigError, nearest, printable
from curvetune.grids.cells import Grid, Select
from curvetune.report.document import Document
from curvetune.report.numbers import between, of, p_value, signed
from curvetune.report.sheet import Sheet
from curvetune.report.tables.main import footnotes
from curvetune.report.verdict import DIVIDED

REFERENCE = "cross-entropy"
ALL = "all"
DECISIVE = 6  # units that differ: the fewest whose p can be below 5 %


def significance_document(
    grid: Grid, select: Select, reference: str | None = None, unit: Unit = "pair"
) -> Document:
    """Return each method compared with `reference`, or with "all" others."""
    methods = {label: scores(cells, select) for label, cells in grid.methods().items()}
    pairs = len({(cell.setting, cell.seed) for cell in grid.cells})
    wanted = len(grid.settings) if unit == "setting" else pairs
    if reference == ALL:
        compared = all_pairs(methods, wanted, unit)
    else:
        compared = against(find_method(grid, reference), methods, wanted, unit)
    compared.sort(key=lambda one: -1e9 if one.difference is None else one.difference, reverse=True)
    sheet = paired_sheet(f"{grid.title}: method − than, accuracy in points, paired", compared)
    notes = (*footnotes(grid, select), *paired_notes(compared))
    records = tuple(paired_record(one) for one in compared)
    return Document("significance", grid.name, (sheet,), records, notes)


def find_method(grid: Grid, wanted: str | None) -> str:
    """Return the label of the method that others are compared with.

    Cross entropy unless another one is named: a reference that was chosen after a look at the
    results, such as the best one, would make the p values too small.

    Raises:
        ConfigError: the grid has no such method, or several.
    """
    labels = list(grid.methods())
    names = {label: cells[0].name for label, cells in grid.methods().items()}
    target = wanted or REFERENCE
    found = [target] if target in labels else [k for k, name in names.items() if name == target]
    if len(found) == 1 or (found and wanted is None):
        return found[0]
    if wanted is None and labels:
        return labels[0]
    said = "is several methods" if found else "is no method"
    raise ConfigError(
        f"{printable(target)!r} {said} of grid {grid.name}{nearest(target, labels)}; "
        f"it has: {', '.join(found or labels)}"
    )


def paired_sheet(title: str, compared: Sequence[Paired], first: str = "method") -> Sheet:
    """Return comparisons as a table; a significant one is bold.

    Args:
        first: what the rows are; of settings, all rows are of the same two methods.
    """
    names = (first,) if first == "setting" else (first, "than")
    has_settings = any(one.over_settings for one in compared)
    units = "settings" if _is_by_settings(compared) else "pairs"
    header = (
        *(*names, "difference", "95 % interval"),
        *(("over settings",) if has_settings else ()),
        *("effect", "p", "p (Holm)", units, "more seeds"),
    )
    rows = [
        (
            *(one.b, one.a)[: len(names)],
            signed(one.difference),
            between(one.interval, "+"),
            *((between(one.over_settings, "+"),) if has_settings else ()),
            signed(one.effect),
            p_value(one.p),
            p_value(one.p_holm),
            of(one.n, one.wanted),
            more_seeds(one),
        )
        for one in compared
    ]
    holm = header.index("p (Holm)")
    bold = frozenset((k, holm) for k, one in enumerate(compared) if one.holds)
    titles = tuple((name,) for name in header)
    return Sheet(title, titles, tuple(rows), bold, keys=len(names), words=len(names))


def more_seeds(one: Paired) -> str:
    """Return how many more seeds a comparison would need."""
    if one.more_seeds is None:
        return "–"
    return f"> {MOST:,}" if one.more_seeds + len(one.seeds) > MOST else f"{one.more_seeds:,}"


def paired_notes(compared: Sequence[Paired]) -> list[str]:
    """Return what a reader of `paired_sheet` must know."""
    every = "settings" if _is_by_settings(compared) else "pairs"
    return [
        *notes_of_test(compared),
        f"effect: the rank-biserial correlation, 1 where the method is better in all {every}, -1 "
        f"where it is worse in all",
        "more seeds: with so many more, a paired t test over seeds would show a difference as "
        "large as this one, with a power of 0.8",
    ]


def notes_of_test(compared: Sequence[Paired]) -> list[str]:
    """Return what a reader of p values and of bold ones must know."""
    by_settings = _is_by_settings(compared)
    units = "settings" if by_settings else "pairs"
    notes = [*(_OVER_SETTINGS if by_settings else _OVER_PAIRS), _bold_note(compared)]
    fewest = min((one.differing for one in compared), default=DECISIVE)
    if fewest < DECISIVE:
        notes.append(
            f"{units} that are equal do not count for p: where only {fewest} "
            f"differ{'s' * (fewest == 1)}, it cannot be below {smallest_p(fewest):.3g}, however "
            f"large the difference; more {'' if by_settings else 'seeds or '}settings are needed"
        )
    divided = [f"{one.b} and {one.a}" for one in compared if one.is_divided]
    if divided:
        notes.append(f"{DIVIDED}, so nothing is bold: {'; '.join(divided)}")
    missing = sum(one.n < one.wanted for one in compared)
    if missing:
        notes.append(
            f"{missing} of {len(compared)} comparisons lack {units}, since cells are missing: "
            f"their difference is not that of the MAs"
        )
    return notes


def _is_by_settings(compared: Sequence[Paired]) -> bool:
    return any(one.unit == "setting" for one in compared)


_OVER_PAIRS = (
    "pairs: a setting and a seed that both have; p: Wilcoxon's signed-rank test, exact and "
    "two-sided (Demšar, JMLR 2006); Holm: corrected for the comparisons in one table; the interval "
    "is Student's t of the mean difference",
    "pairs of one setting share it, so p over pairs speaks of the settings of this grid; pairs are "
    "the default, since a p over four settings cannot be below 0.125; --unit setting gives that p",
)
_OVER_SETTINGS = (
    "settings: the seeds of each are averaged first; p: Wilcoxon's signed-rank test over settings, "
    "exact and two-sided (Demšar, JMLR 2006), which speaks of settings like these; Holm: corrected "
    "for the comparisons in one table; the interval is Student's t over settings",
)


def _bold_note(compared: Sequence[Paired]) -> str:
    if not any(one.over_settings for one in compared):
        return (
            f"bold: p (Holm) is below 0.05, which says nothing of other settings: that takes "
            f"{FEWEST} settings or more"
        )
    return (
        "bold: p (Holm) is below 0.05, and so is a bootstrap over settings and seeds, which asks "
        "for settings like these; over settings: its 95 % interval of the difference"
    )


def paired_record(one: Paired) -> dict[str, Any]:
    """Return a comparison with its numbers in full."""
    low, high = one.interval or (None, None)
    low_settings, high_settings = one.over_settings or (None, None)
    return {
        "method": one.b,
        "than": one.a,
        "difference": one.difference,
        "low": low,
        "high": high,
        "p": one.p,
        "p_holm": one.p_holm,
        "unit": one.unit,
        "pairs": one.n,
        "pairs_differing": one.differing,
        "pairs_wanted": one.wanted,
        "effect": one.effect,
        "settings": len(one.settings),
        "low_over_settings": low_settings,
        "high_over_settings": high_settings,
        "holds": one.holds,
        "more_seeds": one.more_seeds,
        "mean_method": one.mean_b,
        "mean_than": one.mean_a,
    }
