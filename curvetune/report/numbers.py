"""How numbers are written in tables: two digits of a percent, a p value, an interval."""

from curvetune.analysis.statistics import Mean

NOTHING = "–"


def percent(value: float | None) -> str:
    """Return a percentage with two digits."""
    return NOTHING if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """Return a difference in points with its sign."""
    return NOTHING if value is None else f"{value:+.2f}"


def spread(value: Mean) -> str:
    """Return a mean ± its sample standard deviation, if there is one."""
    if value.mean is None:
        return NOTHING
    return f"{value.mean:.2f}" + (f" ± {value.std:.2f}" if value.std is not None else "")


def between(interval: tuple[float, float] | None, sign: str = "") -> str:
    """Return an interval as `71.20 to 73.05`; with `sign` "+", both ends have a sign."""
    if interval is None:
        return NOTHING
    return f"{interval[0]:{sign}.2f} to {interval[1]:{sign}.2f}"


def p_value(p: float | None) -> str:
    """Return a p value with three digits."""
    if p is None:
        return NOTHING
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def of(n: int, total: int) -> str:
    """Return `3/3`; a reader sees at once where one is missing."""
    return f"{n}/{total}"
