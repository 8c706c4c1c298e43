"""Puts the page of a grid together and writes it."""

from pathlib import Path

from curvetune.grids.cells import Grid, Select, read_grid
from curvetune.grids.stamps import stamp_notes
from curvetune.planning.again import again
from curvetune.report.pages.content import Told, nobody, ran_on, sections
from curvetune.report.pages.of_grid import charts_of_grid, top_charts
from curvetune.report.pages.options import options_set
from curvetune.report.pages.templates import render
from curvetune.report.sheet import Sheet
from curvetune.report.tables.detail import ma_document
from curvetune.report.tables.main import report_document
from curvetune.report.tables.paired import significance_document
from curvetune.store import CellStore
from curvetune.store.files import write_atomic


def write_html(
    storage: Path,
    grid: str,
    out: Path,
    select: Select = "last",
    data_dir: Path | None = None,
    told: Told = nobody,
) -> int:
    """Write the page of `grid` to `out`; return its size in bytes.

    Args:
        data_dir: where the images are, for confusion matrices and thumbnails.
        told: hears how far it is.

    Raises:
        ConfigError: the storage has no such grid.
        StorageError: `out` cannot be written.
    """
    content = page(storage, grid, select, data_dir, told).encode("utf-8", "replace")
    write_atomic(out, content, durable=False)
    return len(content)


def page(
    storage: Path,
    grid: str,
    select: Select = "last",
    data_dir: Path | None = None,
    told: Told = nobody,
) -> str:
    """Return the page of a grid.

    Raises:
        ConfigError: the storage has no such grid.
    """
    told("tables")
    found = read_grid(storage, grid)
    sheets, more, notes = _tables(storage, found, select)
    told("charts of the grid")
    charts = [*charts_of_grid(storage, found, select)]
    cells = list(sections(storage, found, select, data_dir, told))
    return render(
        "grid.html.j2",
        grid=found.title,
        name=grid,
        again=again(CellStore(storage).read_grid(grid)),
        title=found.title,
        warnings=[*stamp_notes(found.profiles), *found.others],
        # the lines that are said of a table in words; they stand above all, not below it
        verdict=[line for sheet in sheets for line in sheet.below],
        sheets=sheets,
        more=more,
        notes=notes,
        top=top_charts(found, select),
        facts=ran_on(storage, found),
        options=options_set(found),
        charts=charts,
        sections=cells,
        diverged=[one for one in cells if one.diverged],
    )


def _tables(
    storage: Path, grid: Grid, select: Select
) -> tuple[list[Sheet], list[Sheet], list[str]]:
    """Return the tables of the top, those below, and what a reader must know, each once."""
    whole = report_document(storage, grid, select)
    documents = [ma_document(grid, select)]
    if len(grid.methods()) > 1:
        documents.append(significance_document(grid, select))
    top = [document.sheets[0] for document in documents]
    notes = [note for document in (whole, *documents) for note in document.notes]
    return top, list(whole.sheets[1:]), list(dict.fromkeys(notes))
