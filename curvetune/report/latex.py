"""Tables for a paper: LaTeX that compiles as it is, with `booktabs` (and `longtable`)."""

import re
from collections.abc import Sequence
from itertools import groupby

from curvetune.report.sheet import Sheet

# fmt: off
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "–": "--", "—": "---", "→": r"$\to$",
    "≤": r"$\le$", "≥": r"$\ge$", "…": r"\ldots{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "·": r"$\cdot$", "†": r"$^\dagger$", "’": "'", "‘": "`", "“": "``", "”": "''",
    # a line of a table that begins with one of these would be an option of the line before
    "[": "{[}", "]": "{]}", "*": "{*}",
    **{char: rf"\{char}" for char in "&%$#_{}"},
}
# fmt: on
LONG = 40  # rows that fit a page; a longer table goes on on the next one, by `longtable`
LATIN = 0x17F  # the last character that LaTeX knows without a package for its script


def document(sheets: Sequence[Sheet], notes: Sequence[str], name: str, *, command: str = "") -> str:
    """Return tables with captions and labels; what a caption has no room for are comments.

    Args:
        name: what labels begin with.
    """
    head = [f"% {' '.join(line.split())}" for line in notes]
    tables = [
        table(sheet, f"{name}-{k + 1}" if len(sheets) > 1 else name)
        for k, sheet in enumerate(sheets)
    ]
    packages = "booktabs,longtable" if any(len(s.rows) > LONG for s in sheets) else "booktabs"
    return "\n".join([rf"% needs \usepackage{{{packages}}}", *head, *tables])


def table(sheet: Sheet, name: str) -> str:
    """Return one table; `sheet.below` ends its caption."""
    body = [
        " & ".join(
            rf"\textbf{{{_cell(text)}}}" if (k, c) in sheet.best else _cell(text)
            for c, text in enumerate(row)
        )
        for k, row in enumerate(sheet.rows)
    ]
    columns = "l" * sheet.words + "r" * (len(sheet.header) - sheet.words)
    sentences = [_sentence(escape(text)) for text in (sheet.title, *sheet.below)]
    caption = rf"\caption{{{' '.join(sentences)}}}\label{{tab:{label(name)}}}"
    top = [r"\toprule", *_header(sheet.header), r"\midrule"]
    rows = [rf"{line} \\" for line in body]
    if len(rows) > LONG:
        repeated = [rf"{caption} \\", *top, r"\endfirsthead", *top, r"\endhead"]
        lines = _inside("longtable", [*repeated, *rows, r"\bottomrule"], rf"{{{columns}}}")
    else:
        tabular = _inside("tabular", [*top, *rows, r"\bottomrule"], rf"{{{columns}}}")
        lines = _inside("table", [r"\centering", caption, *tabular])
    return "\n".join([*lines, ""])


def _inside(name: str, lines: Sequence[str], options: str = "") -> list[str]:
    """Return lines inside an environment."""
    return [rf"\begin{{{name}}}{options}", *(f"  {line}" for line in lines), rf"\end{{{name}}}"]


def _cell(text: str) -> str:
    """Return the text of a cell, with a minus before numbers where there was a hyphen."""
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escape(text))


def escape(text: str) -> str:
    """Return `text` as LaTeX prints it letter by letter; letters that it lacks by their number."""
    return "".join(
        SPECIAL.get(char, char if ord(char) <= LATIN and char.isprintable() else _number(char))
        for char in text
    )


def label(text: str) -> str:
    """Return `text` as a label: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "table"


def _header(header: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of the header; what neighbours share stands once above them, on a rule."""
    height = max(map(len, header))
    lines: list[str] = []
    for k in range(height):
        texts = [t[k - height + len(t)] if k >= height - len(t) else "" for t in header]
        if k == height - 1:
            lines.append(" & ".join(map(escape, texts)) + r" \\")
            continue
        parts, rules, at = [], [], 1
        for text, group in groupby(texts):
            span = len(list(group))
            parts.append(
                rf"\multicolumn{{{span}}}{{c}}{{{escape(text)}}}" if text else " & " * (span - 1)
            )
            rules += [rf"\cmidrule(lr){{{at}-{at + span - 1}}}"] if text else []
            at += span
        lines += [" & ".join(parts) + r" \\", " ".join(rules)]
    return lines


def _sentence(text: str) -> str:
    """Return a note as a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""


def _number(char: str) -> str:
    return f"{{[}}U+{ord(char):04X}{{]}}"
