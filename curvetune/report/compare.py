"""`curvetune compare`: two grids, or two methods of a grid, pair by pair.

Two grids: cells of the same method, setting and seed are a pair, and what else their configs differ
in is what the difference may come from. Two methods: cells of the same setting and seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curvetune.analysis.aggregate import scores
from curvetune.analysis.significance import Paired, compare, corrected
from curvetune.errors import ConfigError, printable
from curvetune.grids.cells import Cell, Grid, Select, read_grid
from curvetune.grids.labels import NO_OPTION, flatten, setting_parts
from curvetune.grids.stamps import stamp_notes
from curvetune.report.document import Document
from curvetune.report.tables.main import selected
from curvetune.report.tables.paired import find_method, paired_notes, paired_record, paired_sheet
from curvetune.report.verdict import sentences_of_pairs

SHOWN = 12  # differences of configs


@dataclass(frozen=True)
class Pairing:
    """The methods that two grids share: what each is called in A, and in B."""

    a: Grid
    b: Grid
    labels: tuple[tuple[str, str], ...]


def compare_grids(storage: Path | str, a: str, b: str, select: Select) -> Document:
    """Return how far each method of grid `b` is above the same one of grid `a`.

    Raises:
        ConfigError: there is no such grid, or the two share no method, setting and seed.
    """
    first, second = read_grid(storage, a), read_grid(storage, b)
    pairing = _paired_grids(first, second)
    compared = corrected([_of_both(pairing, one, two, select) for one, two in pairing.labels])
    _check_some(pairing, compared)
    title = f"{second.title} − {first.title}: accuracy in points, paired"
    sheet = replace(paired_sheet(title, compared), below=tuple(sentences_of_pairs(compared, b)))
    differs = config_differences(pairing)
    notes = [*dict.fromkeys((selected(select, first), selected(select, second)))]
    notes += stamp_notes([*dict.fromkeys((*first.profiles, *second.profiles))])
    notes += [*_said(differs), *_left_out(pairing), *paired_notes(compared)]
    records = tuple(
        paired_record(one) | {"grid": b, "than_grid": a, "differs": differs} for one in compared
    )
    return Document("compare", f"{a} and {b}", (sheet,), records, tuple(notes))


def compare_methods(storage: Path | str, grid: str, a: str, b: str, select: Select) -> Document:
    """Return how far method `b` of a grid is above its method `a`, overall and per setting.

    Raises:
        ConfigError: there is no such grid, or no such method in it.
    """
    found = read_grid(storage, grid)
    first, second = find_method(found, a), find_method(found, b)
    if first == second:
        raise ConfigError(f"{printable(a)!r} twice: name two methods of grid {grid}")
    of_a, of_b = (scores(found.methods()[label], select) for label in (first, second))
    wanted = len({(cell.setting, cell.seed) for cell in found.methods()[first]})
    whole = corrected([compare(first, second, of_a, of_b, wanted)])
    parts = _per_setting(found, first, second, of_a, of_b)
    title = f"{found.title}: {second} − {first}, accuracy in points, paired"
    sheets = (
        replace(paired_sheet(title, whole), below=tuple(sentences_of_pairs(whole))),
        paired_sheet(f"{found.title}: the same in each setting", parts, first="setting"),
    )
    settings = [None, *(one.b for one in parts)]
    records = tuple(
        {**paired_record(one), "method": second, "than": first, "setting": setting}
        for one, setting in zip([*whole, *parts], settings, strict=True)
    )
    notes = (
        selected(select, found),
        *stamp_notes(found.profiles),
        *_missing_notes(whole),
        *paired_notes([*whole, *parts]),
    )
    return Document("compare", grid, sheets, records, notes)


def config_differences(pairing: Pairing) -> dict[str, list[Any]]:
    """Return each option in which paired cells differ: its values in A, and in B."""
    found: dict[str, list[Any]] = {}
    for one, two in pairing.labels:
        first, second = _by_place(pairing.a, one), _by_place(pairing.b, two)
        for place in [place for place in first if place in second]:
            flat_a, flat_b = (dict(flatten(c.config)) for c in (first[place], second[place]))
            for key in dict.fromkeys([*flat_a, *flat_b]):
                pair = [flat_a.get(key), flat_b.get(key)]
                if key not in NO_OPTION and pair[0] != pair[1]:
                    found.setdefault(key, pair)
    return found


def _paired_grids(a: Grid, b: Grid) -> Pairing:
    """Return the methods that both have: of the same label, or the only ones of their name."""
    labels = [(label, label) for label in a.methods() if label in b.methods()]
    taken = {label for label, _ in labels}
    alone_a, alone_b = _alone(a, taken), _alone(b, taken)
    labels += [(alone_a[name], alone_b[name]) for name in alone_a if name in alone_b]
    return Pairing(a, b, tuple(labels))


def _alone(grid: Grid, taken: set[str]) -> dict[str, str]:
    """Return the label of each name that has one label only, and that is not `taken`."""
    names: dict[str, list[str]] = {}
    for label, cells in grid.methods().items():
        names.setdefault(cells[0].name, []).append(label)
    return {
        name: labels[0]
        for name, labels in names.items()
        if len(labels) == 1 and labels[0] not in taken
    }


def _of_both(pairing: Pairing, one: str, two: str, select: Select) -> Paired:
    of_a = scores(pairing.a.methods()[one], select)
    of_b = scores(pairing.b.methods()[two], select)
    wanted = len(_by_place(pairing.a, one).keys() & _by_place(pairing.b, two).keys())
    than = f"{one} of {pairing.a.name}"
    return compare(than, two, of_a, of_b, wanted)


def _by_place(grid: Grid, label: str) -> Mapping[Any, Cell]:
    return {(cell.setting, cell.seed): cell for cell in grid.methods()[label]}


def _check_some(pairing: Pairing, compared: Sequence[Paired]) -> None:
    """Refuse grids that have no cell in common.

    Raises:
        ConfigError: no method of both has a setting and a seed in common.
    """
    if any(one.wanted for one in compared):
        return
    a, b = pairing.a, pairing.b
    what = "no method" if not compared else "no setting and seed"
    raise ConfigError(
        f"grids {a.name} and {b.name} have {what} in common, so nothing can be paired; "
        f"{a.name} has {_summary(a)}; {b.name} has {_summary(b)}"
    )


def _summary(grid: Grid) -> str:
    places = [", ".join(setting_parts(s, grid.settings)) for s in grid.settings[:3]]
    more = f" and {len(grid.settings) - 3} more" if len(grid.settings) > 3 else ""
    kinds = sorted({f"{s.data} {s.model} {s.noise or 'no'} noise" for s in grid.settings})
    return f"{', '.join(grid.methods())} ({'; '.join(kinds)}: {'; '.join(places)}{more})"


def _per_setting(
    grid: Grid, first: str, second: str, of_a: Mapping[Any, float], of_b: Mapping[Any, float]
) -> list[Paired]:
    """Return the comparison within each setting, corrected for their number."""
    parts = []
    for setting in grid.settings:
        one, two = (
            {key: value for key, value in of.items() if key[0] == setting} for of in (of_a, of_b)
        )
        wanted = len({c.seed for c in grid.methods()[first] if c.setting == setting})
        name = ", ".join(setting_parts(setting, grid.settings))
        parts.append(compare(first, name, one, two, wanted))
    return corrected(parts)


def _missing_notes(compared: Sequence[Paired]) -> list[str]:
    return [
        f"{one.n} of {one.wanted} pairs are there: cells are missing or have failed"
        for one in compared
        if one.n < one.wanted
    ]


def _said(differs: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return in words what the configs differ in."""
    if not differs:
        return ["the configs of the pairs are the same: only chance or the version differ"]
    lines = [
        f"{printable(key)}: {printable(a)} against {printable(b)}"
        for key, (a, b) in list(differs.items())[:SHOWN]
    ]
    more = [f"and {len(differs) - SHOWN} more options"] if len(differs) > SHOWN else []
    return [f"the configs differ in: {'; '.join([*lines, *more])}"]


def _left_out(pairing: Pairing) -> list[str]:
    """Return which methods only one of the grids has."""
    notes = []
    for grid, k in ((pairing.a, 0), (pairing.b, 1)):
        alone = [label for label in grid.methods() if label not in {p[k] for p in pairing.labels}]
        if alone:
            notes.append(f"only in {grid.name}: {', '.join(alone)}")
    return notes
