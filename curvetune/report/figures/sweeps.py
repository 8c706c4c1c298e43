"""Which options an ablation sweeps, read from the labels of its rows."""

from collections.abc import Mapping, Sequence

from curvetune.analysis.aggregate import MethodRow
from curvetune.report.figures.grids import Sweep

Options = Mapping[str, str]


def sweeps(rows: Sequence[MethodRow]) -> list[Sweep]:
    """Return a sweep for each option that alone tells rows of a method apart, in their order.

    Where rows differ in several options, those that are alike in the others make one sweep. Rows
    without an MA are left out.
    """
    found: list[Sweep] = []
    by_method: dict[str, list[tuple[Options, MethodRow]]] = {}
    for row in rows:
        name, options = _options(row.label)
        if options and row.ma.mean is not None:
            by_method.setdefault(name, []).append((options, row))
    for name, of_method in by_method.items():
        for option in dict.fromkeys(key for options, _ in of_method for key in options):
            found += _of_option(name, option, of_method)
    return found


def _of_option(name: str, option: str, rows: Sequence[tuple[Options, MethodRow]]) -> list[Sweep]:
    """Return the sweeps of one option: one for each choice of the others, of two rows or more."""
    groups: dict[str, list[tuple[Options, MethodRow]]] = {}
    for options, row in rows:
        if option in options:
            fixed = " ".join(f"{key}={text}" for key, text in options.items() if key != option)
            groups.setdefault(fixed, []).append((options, row))
    made = []
    for fixed, group in groups.items():
        values = [_number(options[option]) for options, _ in group]
        are_numbers = not any(value is None for value in values)
        points = [
            (value if are_numbers and value is not None else options[option], row)
            for value, (options, row) in zip(values, group, strict=True)
        ]
        if are_numbers:
            points.sort(key=lambda point: float(point[0]))
        means = tuple((v, row.ma.mean, row.ma.std) for v, row in points if row.ma.mean is not None)
        if len(means) > 1:
            made.append(Sweep(name, option, fixed, means, tuple(row.label for _, row in points)))
    return made


def _options(label: str) -> tuple[str, dict[str, str]]:
    """Return ("curvenet", {"skip_layers": "1"}) of "curvenet skip_layers=1"."""
    name, *words = label.split(" ")
    if not all("=" in word for word in words):
        return label, {}
    return name, dict(word.split("=", 1) for word in words)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
