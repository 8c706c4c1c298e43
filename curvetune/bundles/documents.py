"""The tables of a bundle: the same from the storage that it is of, and from its own cells."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import curvetune
from curvetune.bundles.layout import TABLES
from curvetune.grids.cells import Grid, Select
from curvetune.report.document import FORMS, Document
from curvetune.report.published.numbers import library
from curvetune.report.published.table import published_document
from curvetune.report.tables.detail import TABLES as OF_GRID
from curvetune.report.tables.detail import table
from curvetune.report.tables.main import report_csv, report_document
from curvetune.report.tables.paired import ALL
from curvetune.report.tables.paper import paper_document

ENDINGS = {"csv": "csv", "markdown": "md", "latex": "tex"}
# What the texts of tables are made by; another version may say the same numbers in other words.
MADE_BY = ("analysis", "grids", "report", "system")


def settled(grid: Grid, name: str) -> Grid:
    """Return a grid as a reader elsewhere sees it: what is not done waits, and nobody knows why."""
    cells = [
        cell
        if cell.result is not None
        else replace(cell, state="waiting", failure=None, activity=None, holder=None)
        for cell in grid.cells
    ]
    return replace(grid, name=name, cells=tuple(cells), others=(), stored_probes=frozenset())


def table_files(storage: Path, grid: Grid, select: Select) -> dict[str, bytes]:
    """Return every table of a settled grid in every form, by its path in a bundle."""
    found: dict[str, bytes] = {}
    for name, whole in documents(storage, grid, select):
        document = _without_place(whole, f"{storage}/")
        for form, ending in ENDINGS.items():
            is_report = name == "report" and form == "csv"
            text = report_csv(grid, select) if is_report else FORMS[form](document)
            found[f"{TABLES}/{name}.{ending}"] = text.encode("utf-8", "replace")
    return found


def documents(storage: Path, grid: Grid, select: Select) -> Iterator[tuple[str, Document]]:
    """Yield the tables of a grid by the names of their files."""
    yield "report", report_document(storage, grid, select)
    for name in OF_GRID:
        yield name, table(storage, grid, name, select)
    yield f"significance-{ALL}", table(storage, grid, "significance", select, ALL)
    yield "published", published_document(grid, select)
    for number in library().paper():
        document = paper_document(storage, grid, number, select)
        if any(record["ours"] is not None for record in document.records):
            yield f"paper-{number}", document


def _without_place(document: Document, place: str) -> Document:
    """Return a document whose notes of damaged files do not say which folder they are in."""
    records = tuple(
        {k: v.replace(place, "") if isinstance(v, str) else v for k, v in record.items()}
        for record in document.records
    )
    notes = tuple(note.replace(place, "") for note in document.notes)
    return replace(document, records=records, notes=notes)


def code_of_tables() -> str:
    """Return 16 hex digits of the SHA-256 over the modules that make the texts of tables."""
    package, total = Path(curvetune.__file__).parent, hashlib.sha256()
    for part in MADE_BY:
        for path in sorted((package / part).rglob("*")):
            if path.suffix in (".py", ".yaml", ".j2"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()[:16]
