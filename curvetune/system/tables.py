"""Tables for a terminal of any width, in which a name is never cut and a row never nameless.

A table that is too wide for its terminal goes on in a further one below, with its key columns
repeated. Where even the keys and one more column are too wide, each row becomes a few lines. Into a
pipe or a file a table goes as wide as it is (`plain_console`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP = 2  # spaces between two columns
AT_ONCE = 500  # lines that are printed: one by one takes three times as long
PROSE = 20  # letters that a column of sentences is wide at least
PIECES = re.compile(r"[^\s/_-]*[/_-]*\s*")  # of sentences, between which a line may end
SIGNS = "+-–<0123456789"  # what a value begins with that says nothing without its title


@dataclass(frozen=True)
class Column:
    """A column: its title, whose lines end with a line break, and how it is set.

    Args:
        is_key: it says which row this is, with the other keys; keys come first.
        is_left: words, which begin at the left; numbers end at the right.
        is_prose: sentences, which may go on below between two words.
    """

    title: str
    is_key: bool = False
    is_left: bool = False
    is_prose: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; rich's `Text` where a value has a style.

    Args:
        last: how many rows at the end stand below a rule, as sums do.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence["str | Text"]]
    last: int = 0


def print_table(table: Table, console: "Console") -> None:
    """Print a table as it fits the console."""
    lines = table_lines(table, console.width)
    for start in range(0, len(lines), AT_ONCE):
        some = _text("\n").join(lines[start : start + AT_ONCE])
        console.print(some, soft_wrap=True, highlight=False)


def table_lines(table: Table, width: int) -> "list[Text]":
    """Return a table as lines of at most `width` letters; only a value with its title is longer."""
    natural = [_natural(table, c) for c in range(len(table.columns))]
    blocks = _blocks(table, natural, width)
    if blocks is None:
        return list(_records(table, width))
    lines: list[Text] = []
    for k, block in enumerate(blocks):
        lines += [_text("")] * bool(k)
        lines += _block(table, block, _widths(table, block, natural, width))
    return lines


def _natural(table: Table, c: int) -> int:
    """Return how wide column `c` is where there is room for all of it."""
    texts = [table.columns[c].title, *(_plain(row[c]) for row in table.rows)]
    return max(_length(line) for text in texts for line in text.split("\n"))


def _blocks(table: Table, natural: Sequence[int], width: int) -> list[list[int]] | None:
    """Return which columns stand side by side, keys in each; None if a block has room for none."""
    least = [_least(table, c, wide) for c, wide in enumerate(natural)]
    keys = [c for c, column in enumerate(table.columns) if column.is_key]
    others = [c for c in range(len(table.columns)) if c not in keys]
    if not others or _sum(least, keys + others) <= width:
        return [list(range(len(table.columns)))] if _sum(least, keys) <= width else None
    if any(_sum(least, [*keys, c]) > width for c in others):
        return None
    blocks: list[list[int]] = [[*keys]]
    for c in others:
        if len(blocks[-1]) > len(keys) and _sum(least, [*blocks[-1], c]) > width:
            blocks.append([*keys])
        blocks[-1].append(c)
    return blocks


def _sum(widths: Sequence[int], columns: Sequence[int]) -> int:
    return sum(widths[c] for c in columns) + GAP * (len(columns) - 1)


def _widths(
    table: Table, block: Sequence[int], natural: Sequence[int], width: int
) -> dict[int, int]:
    """Return how wide each column of a block is: sentences share what the others leave."""
    prose = sorted((c for c in block if table.columns[c].is_prose), key=lambda c: natural[c])
    found = {c: natural[c] for c in block}
    left = width - _sum(natural, [c for c in block if c not in prose]) - GAP * len(prose)
    for k, c in enumerate(prose):
        found[c] = min(natural[c], max(_least(table, c, natural[c]), left // (len(prose) - k)))
        left -= found[c]
    return found


def _block(table: Table, block: Sequence[int], widths: dict[int, int]) -> "Iterator[Text]":
    """Yield the lines of one block: titles, a rule, rows."""
    titles = [table.columns[c].title.split("\n") for c in block]
    height = max(map(len, titles))
    columns = [table.columns[c] for c in block]
    for k in range(height):
        texts: list[str | Text] = [
            lines[k - height] if k >= height - len(lines) else "" for lines in titles
        ]
        yield _line(texts, columns, [widths[c] for c in block])
    rule = "─" * (sum(widths.values()) + GAP * (len(block) - 1))
    yield _text(rule)
    for k, row in enumerate(table.rows):
        if table.last and k == len(table.rows) - table.last:
            yield _text(rule)
        folded: list[list[str | Text]] = [
            _folded(row[c], widths[c]) if table.columns[c].is_prose else [row[c]] for c in block
        ]
        for n in range(max(map(len, folded))):
            parts = [lines[n] if n < len(lines) else "" for lines in folded]
            yield _line(parts, columns, [widths[c] for c in block])


def _line(
    texts: "Sequence[str | Text]", columns: Sequence[Column], widths: Sequence[int]
) -> "Text":
    """Return one line of a block, without spaces at its end."""
    line, plain = _text(""), ""  # what has no style of its own is put together first
    for k, (text, column, width) in enumerate(zip(texts, columns, widths, strict=True)):
        blank = " " * (width - _length(_plain(text)))
        plain += " " * (GAP if k else 0) + ("" if column.is_left else blank)
        if isinstance(text, str):
            plain += text
        else:
            line.append(plain).append(text)
            plain = ""
        plain += blank if column.is_left else ""
    line.append(plain)
    line.rstrip()
    return line


def _records(table: Table, width: int) -> "Iterator[Text]":
    """Yield each row as lines: its keys in one, then its values under each other."""
    keys = [c for c, column in enumerate(table.columns) if column.is_key]
    others = [c for c in range(len(table.columns)) if c not in keys]
    titles = {c: table.columns[c].title.replace("\n", ", ") for c in range(len(table.columns))}
    wide = max((_length(titles[c]) for c in others), default=0)
    for k, row in enumerate(table.rows):
        if k:
            yield _text("")
        yield _text(", ".join(_named(titles[c], _plain(row[c])) for c in keys), "bold")
        for c in others:
            lines = [row[c]]
            if table.columns[c].is_prose:
                lines = _folded(row[c], max(PROSE, width - wide - 2 * GAP))
            for n, value in enumerate(lines):
                line = _text(" " * GAP + ("" if n else titles[c]).ljust(wide + GAP))
                line.append(value)
                line.rstrip()
                yield line


def _named(title: str, value: str) -> str:
    """Return a key that says what it is: "seed 0", but "curvenet"."""
    return f"{title} {value}" if title and (not value or value[0] in SIGNS) else value


def _folded(value: "str | Text", width: int) -> "list[str | Text]":
    """Return sentences in lines, which end between words, or after a hyphen or slash within one."""
    if not isinstance(value, str):
        return [value]
    lines: list[str | Text] = []
    for part in value.split("\n"):
        line = ""
        for piece in PIECES.findall(part):
            if line and _length(line + piece.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece
        lines.append(line.rstrip())
    return lines


def _least(table: Table, c: int, natural: int) -> int:
    """Return how wide column `c` is at least: no piece of a word is cut."""
    if not table.columns[c].is_prose:
        return natural
    texts = [table.columns[c].title, *(_plain(row[c]) for row in table.rows)]
    pieces = [_length(piece.rstrip()) for text in texts for piece in PIECES.findall(text)]
    return min(natural, max(PROSE, *pieces))


def _plain(value: "str | Text") -> str:
    return value if isinstance(value, str) else value.plain


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(text, style)
