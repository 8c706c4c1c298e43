"""What a table of methods says in words: which are apart, which are not, and by what test.

Every two methods are compared over the pairs (a setting and a seed) that both have, by Wilcoxon's
exact signed-rank test, corrected after Holm for the number of comparisons. So it does not matter
that the best method was picked after a look at the results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curvetune.analysis.aggregate import MethodRow, method_rows, scores
from curvetune.analysis.signed_rank import smallest_p
from curvetune.analysis.significance import LEVEL, Paired, Scores, all_pairs
from curvetune.grids.cells import Grid, Select
from curvetune.report.numbers import p_value, signed

DIVIDED = "the mean and the test disagree"  # few pairs decide the mean; neither is above
NAMED = 8  # groups of methods that a sentence names


@dataclass(frozen=True)
class Verdict:
    """Which methods of a grid are told apart.

    Args:
        order: the methods compared, by falling MA.
        compared: every two of them.
        settings: how many settings the grid has.
    """

    order: tuple[str, ...]
    compared: tuple[Paired, ...]
    settings: int

    @property
    def is_possible(self) -> bool:
        """Whether any comparison could come out significant, however large its difference."""
        return self.smallest < LEVEL

    @property
    def smallest(self) -> float:
        """The smallest corrected p that the number of pairs allows."""
        return min(1.0, smallest_p(self.pairs) * len(self.compared))

    @property
    def pairs(self) -> int:
        """The most pairs that differ in any comparison; the most that there are if none differ."""
        differing = max((one.differing for one in self.compared), default=0)
        return differing or max((one.n for one in self.compared), default=0)

    def is_above(self, one: str, other: str) -> bool:
        """Say whether `one` is significantly above `other`, by the test and by the mean."""
        return any(pair.better_and_worse == (one, other) for pair in self.compared)

    def holds_above(self, one: str, other: str) -> bool:
        """Say whether `one` is above `other` over settings too, as far as there are enough."""
        return any(p.holds and p.better_and_worse == (one, other) for p in self.compared)

    def like_the_best(self) -> frozenset[str]:
        """Return the best method and those not told apart from it; none if that says nothing.

        It is what is bold, so it takes the stricter answer: over pairs, and over settings.
        """
        if not self.order or not self.is_possible:
            return frozenset()
        best, apart = self.order[0], self.holds_above
        alike = {m for m in self.order if not apart(best, m) and not apart(m, best)}
        return frozenset() if len(alike) == len(self.order) else frozenset(alike | {best})


def verdict(grid: Grid, select: Select = "last") -> Verdict:
    """Return the verdict on the methods of a grid that have an MA."""
    name = f"verdict on {select}"
    if name not in grid.known:
        grid.known[name] = _verdict(grid, select)
    found: Verdict = grid.known[name]
    return found


def _verdict(grid: Grid, select: Select) -> Verdict:
    rows = [row for row in method_rows(grid, select) if row.ma.mean is not None]
    rows.sort(key=_ma, reverse=True)
    cells = grid.methods()
    found = {row.label: scores(cells[row.label], select) for row in rows}
    return verdict_of(found, len(grid.settings), len({(c.setting, c.seed) for c in grid.cells}))


def verdict_of(methods: Mapping[str, Scores[Any]], settings: int, wanted: int) -> Verdict:
    """Return the verdict on `methods`, the best first, of scores by setting and seed."""
    return Verdict(tuple(methods), tuple(all_pairs(methods, wanted)), settings)


def sentences(found: Verdict) -> list[str]:
    """Return the verdict in words; nothing if there are no two methods to compare."""
    if not found.compared:
        return []
    if not found.is_possible:
        return [_impossible(found), f"by {_test(found)}"]
    apart, alike = _apart(found), _alike(found)
    if not alike and len(found.order) > 2:
        apart = [f"all {len(found.order)} methods are told apart, in the order of the table"]
    lines = ["; ".join(apart) if apart else "no method can be told from another"]
    if apart and alike:
        lines.append(f"not told apart: {'; '.join(alike)}")
    divided = [f"{one.b} and {one.a}" for one in found.compared if one.is_divided]
    if divided:
        lines.append(f"{DIVIDED}: {'; '.join(divided[:NAMED] + _more(len(divided)))}")
    return [f"verdict: {lines[0]}", *lines[1:], f"by {_test(found)}", *_over_settings(found)]


def _over_settings(found: Verdict) -> list[str]:
    """Return what of the verdict holds over settings too; nothing where there is none, or few."""
    told = [(one, one.better_and_worse) for one in found.compared if one.over_settings]
    apart = [(one, names) for one, names in told if names]
    if not apart:
        return []
    by = f"by a bootstrap over {found.settings} settings and their seeds"
    open_ones = [_and(names) for one, names in apart if not one.holds]
    if not open_ones:
        return [f"it holds in settings like these too, {by}"]
    if len(open_ones) == len(apart):
        return [f"whether it holds in settings like these is open, {by}"]
    rest = "; ".join(open_ones[:NAMED] + _more(len(open_ones)))
    return [f"it holds in settings like these too, {by}, but that is open of {rest}"]


def verdict_lines(grid: Grid, select: Select = "last") -> list[str]:
    """Return the verdict on a grid in words, as lines under its table of MA."""
    return sentences(verdict(grid, select))


def sentences_of_pairs(compared: Sequence[Paired], whole: str = "") -> list[str]:
    """Return in words which of `compared` are apart, and in which direction: one line for each.

    Args:
        whole: what the first names of the lines are of, as the name of a grid.
    """
    lines = [_of_pair(one, len(compared), whole) for one in compared[:NAMED]] + _more(len(compared))
    return [f"verdict: {lines[0]}", *lines[1:]] if lines else []


def _of_pair(one: Paired, count: int, whole: str) -> str:
    """Return whether `one.b` is told from `one.a`, by how much, and by how many pairs."""
    of = f" of {whole}" * bool(whole)
    pairs = f"{one.n} pair{'s' * (one.n != 1)}"
    if one.difference is None:
        return f"{one.b}{of} has no pair with {one.a}"
    said = f"{one.b}{of} − {one.a} = {signed(one.difference)} points"
    if one.is_divided:
        return f"{one.b}{of} and {one.a}: {DIVIDED}: {said}, p {_p(one)} over {pairs}"
    if one.is_significant:
        better, worse = (one.b + of, one.a) if (one.effect or 0.0) > 0 else (one.a, one.b + of)
        return f"{better} is better than {worse}: {said}, p {_p(one)} over {pairs}"
    smallest = min(1.0, smallest_p(one.differing or one.n) * count)
    why = f"p {_p(one)} over {pairs}"
    if smallest >= LEVEL:
        why = f"with {pairs} no p can be below {smallest:.3g}"
    return f"{one.b}{of} and {one.a} are not told apart: {said}, {why}"


def _p(one: Paired) -> str:
    text = p_value(one.p_holm)
    return text.replace("<", "< ") if "<" in text else f"= {text}"


def _apart(found: Verdict) -> list[str]:
    """Return "a and b are better than c" for the methods that are above the same others."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in found.order:
        below = tuple(other for other in found.order if found.is_above(one, other))
        if below:
            groups.setdefault(below, []).append(one)
    return [
        f"{_and(better)} {'are' if len(better) > 1 else 'is'} better than {_and(worse)}"
        for worse, better in list(groups.items())[:NAMED]
    ] + _more(len(groups))


def _alike(found: Verdict) -> list[str]:
    """Return "a from b and c" for each method that is not told from some below it."""
    lines = []
    for k, one in enumerate(found.order):
        others = [
            other
            for other in found.order[k + 1 :]
            if not found.is_above(one, other) and not found.is_above(other, one)
        ]
        if others:
            lines.append(f"{one} from {_and(others)}")
    return lines[:NAMED] + _more(len(lines))


def _more(groups: int) -> list[str]:
    return ["and so on: --table significance --against all has all"] * (groups > NAMED)


def _impossible(found: Verdict) -> str:
    """Say that there are too few pairs, and how many would do."""
    count, pairs = len(found.compared), found.pairs
    needed = next(n for n in range(1, 200) if smallest_p(n) * count < LEVEL)
    seeds = -(-needed // max(1, found.settings))
    corrected = f", {found.smallest:.3g} corrected for {count} comparisons" * (count > 1)
    return (
        f"verdict: no method can be told from another: with {pairs} pair{'s' * (pairs != 1)} no p "
        f"can be below {smallest_p(pairs):.3g}{corrected}, however large the difference; "
        f"{needed} pairs can tell, as {seeds} seed{'s' * (seeds != 1)} in "
        f"{found.settings} setting{'s' * (found.settings != 1)}"
    )


def _test(found: Verdict) -> str:
    """Name the test and what it is over."""
    numbers = [one.n for one in found.compared]
    low, high = min(numbers), max(numbers)
    pairs = f"{high}" if low == high else f"{low} to {high}"
    count = len(found.compared)
    holm = f", corrected after Holm for {count} comparisons" * (count > 1)
    return (
        f"Wilcoxon's signed-rank test, exact, two-sided, over {pairs} pairs of a setting and a "
        f"seed{holm}, at {LEVEL:.0%}"
    ).replace("%", " %")


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ma(row: MethodRow) -> float:
    return -1.0 if row.ma.mean is None else row.ma.mean
