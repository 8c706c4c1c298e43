"""Tables with what a reader must know of them, in every form they are asked for."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

from curvetune.errors import ConfigError, nearest
from curvetune.grids.stamps import stamp, stamp_notes
from curvetune.report.pages.templates import render
from curvetune.report.sheet import Sheet, latex, markdown, rich_tables

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Document:
    """Some tables, what to know about them, and their numbers in full."""

    name: str  # as `--table` has it
    grid: str
    sheets: tuple[Sheet, ...]
    records: tuple[Mapping[str, Any], ...]  # a mapping per row, all of the same keys
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)  # for programs alone


def stamped(found: Document, profiles: Sequence[str]) -> Document:
    """Return a document whose rows and notes say the profile of their grid, unless a release."""
    if not stamp(profiles):
        return found
    records = tuple({**record, "profile": ",".join(profiles)} for record in found.records)
    notes = tuple(dict.fromkeys((*found.notes, *stamp_notes(profiles))))
    return replace(found, records=records, notes=notes)


def as_markdown(found: Document) -> str:
    """Return the tables, then the notes as a list."""
    notes = [markdown_note(note) for note in found.notes]
    return "\n".join([*(f"{markdown(sheet)}\n" for sheet in found.sheets), *notes, ""])


def markdown_note(note: str) -> str:
    """Return a note as an item of a list; what Markdown would read as HTML is escaped."""
    return "- " + escape(note, quote=False)


def as_latex(found: Document) -> str:
    """Return the tables with booktabs, the notes as comments above them."""
    notes = [f"% {note}" for note in found.notes]
    return "\n".join([*notes, r"% \usepackage{booktabs}", *map(latex, found.sheets)])


def as_csv(found: Document) -> str:
    """Return a line per row with its numbers in full; empty is not known."""
    keys = list(dict.fromkeys(key for record in found.records for key in record))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([_plain(record.get(key)) for key in keys] for record in found.records)
    return text.getvalue()


def as_json(found: Document) -> str:
    """Return the rows and notes as JSON."""
    return json.dumps(document_json(found), indent=1) + "\n"


def document_json(found: Document) -> dict[str, Any]:
    """Return what `--json` prints of a document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "grid": found.grid,
        "table": found.name,
        "rows": [dict(record) for record in found.records],
        "notes": list(found.notes),
    }


def as_html(found: Document) -> str:
    """Return a small page that needs no network."""
    return render("document.html.j2", title=found.grid, sheets=found.sheets, notes=found.notes)


FORMS: dict[str, Callable[[Document], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "html": as_html,
}


def check_form(form: str) -> None:
    """Refuse a form of a table that there is not.

    Raises:
        ConfigError: there is no such form.
    """
    if form not in FORMS:
        raise ConfigError(
            f"--format {form!r}: allowed are {', '.join(FORMS)}{nearest(form, FORMS)}"
        )


def print_document(found: Document, console: "Console") -> None:
    """Print the tables to a terminal; one that is too wide goes on in a further table below."""
    print_sheets(found.sheets, found.notes, console)


def print_sheets(sheets: Sequence[Sheet], notes: Sequence[str], console: "Console") -> None:
    """Print tables, then notes."""
    for sheet in sheets:
        console.print(sheet.title, style="bold", highlight=False, soft_wrap=True)
        for table in rich_tables(sheet, console.width):
            console.print(table)
            console.print()
    for note in notes:
        console.print(note, style="dim", highlight=False)


def _plain(value: Any) -> Any:
    """Return a value for one field of CSV: lists as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
