"""A table of text before it is one for a terminal, Markdown, LaTeX or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{char: rf"\{char}" for char in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "†": r"$^\dagger$",
        "–": "--",
    }
)
# Markdown takes HTML for HTML, and MLflow's pages show Markdown.
MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": r"\|", "`": r"\`"})


@dataclass(frozen=True)
class Sheet:
    """A table of text: the first column is left-aligned, the others right; `best` prints bold."""

    title: str
    header: tuple[tuple[str, ...], ...]  # of each column, its lines
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column)


def rich_tables(sheet: Sheet, width: int) -> list["Table"]:
    """Return `sheet` untitled as one table, or as several no wider than `width` each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    tables: list[Table] = []
    for columns in _chunks(sheet, width):
        table = Table(box=SIMPLE_HEAD, show_edge=False)
        for c in columns:
            header = Text("\n".join(sheet.header[c]))
            table.add_column(header, justify="left" if c == 0 else "right", no_wrap=c > 0)
        for k, row in enumerate(sheet.rows):
            table.add_row(*(Text(row[c], "bold" * ((k, c) in sheet.best)) for c in columns))
        tables.append(table)
    return tables


def markdown(sheet: Sheet) -> str:
    """Return `sheet` as a Markdown table under its title."""
    header = [", ".join(map(_for_markdown, lines)) for lines in sheet.header]
    marks = [":--", *["--:"] * (len(header) - 1)]
    body = [
        [f"**{t}**" if (k, c) in sheet.best else t for c, t in enumerate(map(_for_markdown, row))]
        for k, row in enumerate(sheet.rows)
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in ([*header], marks, *body)]
    return "\n".join([f"**{_for_markdown(sheet.title)}**", "", *lines])


def latex(sheet: Sheet) -> str:
    """Return `sheet` as a LaTeX table with booktabs rules."""
    header = [_stacked([_escape(line) for line in lines]) for lines in sheet.header]
    body = [
        [
            rf"\textbf{{{_escape(t)}}}" if (k, c) in sheet.best else _escape(t)
            for c, t in enumerate(r)
        ]
        for k, r in enumerate(sheet.rows)
    ]
    rule = [" & ".join(cells) + r" \\" for cells in body]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_escape(sheet.title)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(header)} \\\\",
            r"    \midrule",
            *(f"    {line}" for line in rule),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _chunks(sheet: Sheet, width: int) -> list[list[int]]:
    """Return columns that fit beside the first one into `width`, at least one at a time."""
    widths = [
        2 + max(len(text) for text in (*sheet.header[c], *(row[c] for row in sheet.rows)))
        for c in range(len(sheet.header))
    ]
    chunks: list[list[int]] = [[0]]
    for c in range(1, len(widths)):
        if len(chunks[-1]) > 1 and sum(widths[k] for k in (*chunks[-1], c)) > width:
            chunks.append([0])
        chunks[-1].append(c)
    return chunks


def _stacked(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r" \\ ".join(lines) + "}"


def _escape(text: str) -> str:
    return text.translate(LATEX)


def _for_markdown(text: str) -> str:
    return text.replace("](", r"]\(").translate(MARKDOWN)
