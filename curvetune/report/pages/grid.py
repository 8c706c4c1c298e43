"""Puts the page of a grid together and writes it."""

from pathlib import Path

from curvetune.grids.cells import Select, read_grid
from curvetune.planning.again import again
from curvetune.report.pages.content import pictures_of_grid, ran_on, sections
from curvetune.report.pages.templates import render
from curvetune.report.tables.main import report_document
from curvetune.store import CellStore
from curvetune.store.files import write_atomic


def write_html(
    storage: Path, grid: str, out: Path, select: Select = "last", data_dir: Path | None = None
) -> int:
    """Write the page of `grid` to `out`; return its size in bytes.

    Args:
        data_dir: where the images are, for confusion matrices and thumbnails.

    Raises:
        ConfigError: the storage has no such grid.
        StorageError: `out` cannot be written.
    """
    content = page(storage, grid, select, data_dir).encode("utf-8", "replace")
    write_atomic(out, content, durable=False)
    return len(content)


def page(storage: Path, grid: str, select: Select = "last", data_dir: Path | None = None) -> str:
    """Return the page of a grid.

    Raises:
        ConfigError: the storage has no such grid.
    """
    found = read_grid(storage, grid)
    document = report_document(storage, found, select)
    return render(
        "grid.html.j2",
        grid=found.title,
        name=grid,
        again=again(CellStore(storage).read_grid(grid)),
        sheets=document.sheets,
        notes=document.notes,
        facts=ran_on(storage, found),
        pictures=pictures_of_grid(storage, found, select),
        sections=list(sections(storage, found, select, data_dir)),
    )
