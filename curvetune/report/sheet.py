"""A table of text before it is one for a terminal, Markdown or HTML; LaTeX is in latex.py."""

from dataclasses import dataclass

from curvetune.system.tables import Column, Table

# Markdown takes HTML for HTML, and MLflow's pages show Markdown.
MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": r"\|", "`": r"\`"})


@dataclass(frozen=True)
class Sheet:
    """A table of text; `best` prints bold.

    Args:
        keys: how many columns at its beginning say which row this is.
        words: how many columns at its beginning are set left; numbers are set right.
        below: what it says, in sentences that stand below it.
    """

    title: str
    header: tuple[tuple[str, ...], ...]  # of each column, its lines
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column)
    keys: int = 1
    words: int = 1
    below: tuple[str, ...] = ()


def terminal_table(sheet: Sheet) -> Table:
    """Return `sheet` untitled, for a terminal."""
    from rich.text import Text

    columns = [
        Column("\n".join(lines), is_key=c < sheet.keys, is_left=c < sheet.words)
        for c, lines in enumerate(sheet.header)
    ]
    rows = [
        [Text(text, "bold") if (k, c) in sheet.best else text for c, text in enumerate(row)]
        for k, row in enumerate(sheet.rows)
    ]
    return Table(columns, rows)


def markdown(sheet: Sheet) -> str:
    """Return `sheet` as a Markdown table under its title."""
    header = [", ".join(map(_for_markdown, lines)) for lines in sheet.header]
    marks = [":--" if c < sheet.words else "--:" for c in range(len(header))]
    body = [
        [f"**{t}**" if (k, c) in sheet.best else t for c, t in enumerate(map(_for_markdown, row))]
        for k, row in enumerate(sheet.rows)
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in ([*header], marks, *body)]
    below = [text for line in sheet.below for text in ("", _for_markdown(line))]
    return "\n".join([f"**{_for_markdown(sheet.title)}**", "", *lines, *below])


def _for_markdown(text: str) -> str:
    return text.replace("](", r"]\(").translate(MARKDOWN)
