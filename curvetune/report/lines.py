"""A table as plain lines that are never folded or cut: what is last may be as long as it likes."""

from collections.abc import Sequence
from unicodedata import east_asian_width

GAP = "  "


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int]
) -> list[str]:
    """Return a table as lines: its header, a rule as wide as that, and its rows.

    Args:
        left: columns whose texts begin at the left; numbers end at the right.
    """
    columns = range(len(header))
    widths = [max(map(_width, (header[k], *(row[k] for row in rows)))) for k in columns]
    lines = [_line(row, widths, left) for row in (header, *rows)]
    ruled = sum(widths[:-1]) + len(GAP) * (len(header) - 1) + _width(header[-1])
    return [lines[0], "─" * ruled, *lines[1:]]


def _line(cells: Sequence[str], widths: Sequence[int], left: frozenset[int]) -> str:
    padded = (
        cell + " " * (width - _width(cell)) if k in left else " " * (width - _width(cell)) + cell
        for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
