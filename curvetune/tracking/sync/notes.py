"""What a tracker shows in words and tables: the note and the files of a grid's and a method's run.

Markdown that comes out of a storage is escaped (sheet.py).
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from curvetune.analysis.aggregate import MethodRow, method_rows
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import setting_parts
from curvetune.planning.again import again
from curvetune.report.document import as_markdown
from curvetune.report.figures.gather import MissingError
from curvetune.report.pages.of_grid import ma_chart
from curvetune.report.pages.pictures import picture
from curvetune.report.sheet import MARKDOWN, Sheet, markdown
from curvetune.report.tables.main import footnotes, ma_sheet, report_csv, report_document
from curvetune.store import CellStore
from curvetune.tracking.sync.views import how_to_read

REPORT = "report.md"
AGAIN = "again.yaml"  # the grid as a space, which finds its results again
PICTURE = "ma.svg"
MOST_NAMED = 20  # cells that diverged
NOTHING = "–"


def grid_files(storage: Path | str, grid: Grid) -> Mapping[str, str]:
    """Return the tables of a grid by file name."""
    report = as_markdown(report_document(storage, grid))
    space = again(CellStore(storage).read_grid(grid.name))
    return {REPORT: report, "report.csv": report_csv(grid), AGAIN: space}


def grid_pictures(grid: Grid) -> Mapping[str, str]:
    """Return the picture of MA by file name: MLflow's own bars have no spread."""
    try:
        return {PICTURE: picture(ma_chart(grid, "last"))}
    except MissingError:
        return {}


def grid_note(
    grid: Grid, run_id: str = "", diverged: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the MA table and its picture, the command, and how to read the pages.

    Args:
        run_id: of the run that has the picture.
        diverged: runs that did, and where.
    """
    notes = "\n".join(f"- {note}" for note in footnotes(grid))
    if run_id and grid_pictures(grid):
        notes += f"\n\n![MA](get-artifact?path={PICTURE}&run_uuid={run_id})"
    if diverged:
        which = "\n".join(
            f"- {name.translate(MARKDOWN)}: {words.translate(MARKDOWN)}"
            for name, words in list(diverged.items())[:MOST_NAMED]
        )
        notes += f"\n\n**{len(diverged)} of {len(grid.cells)} cells diverged**\n\n{which}"
    command = grid.command.replace("`", "'")
    return (
        f"{markdown(ma_sheet(grid))}\n\n{notes}\n\n**Run by** `{command}`; all tables are in the "
        f"artifact {REPORT}, and all options in {AGAIN}.\n\n{how_to_read(grid)}"
    )


def method_files(grid: Grid, label: str) -> Mapping[str, str]:
    """Return the table of a method's cells by file name."""
    return {"cells.md": markdown(cells_sheet(grid, label)) + "\n"}


def method_note(grid: Grid, label: str) -> str:
    """Return a method's MA, and its accuracy in each bias setting."""
    return markdown(_settings_sheet(grid, _row(grid, label)))


def cells_sheet(grid: Grid, label: str) -> Sheet:
    """Return the cells of a method: setting, seed, state, the three accuracies and seconds."""
    header = (
        "setting",
        "seed",
        "state",
        "accuracy",
        f"last {grid.last_epochs}",
        "best",
        "seconds",
        "cell",
    )
    return Sheet(
        title=f"{grid.title}, {label}: its cells (accuracies in %)",
        header=tuple((text,) for text in header),
        rows=tuple(_cell_row(grid, cell) for cell in grid.methods()[label]),
    )


def _row(grid: Grid, label: str) -> MethodRow:
    return next(row for row in method_rows(grid) if row.label == label)


def _settings_sheet(grid: Grid, row: MethodRow) -> Sheet:
    ma = NOTHING if row.ma.mean is None else f"{row.ma.mean:.2f}"
    rows = [
        (
            ", ".join(setting_parts(column.setting, grid.settings)),
            _number(column.accuracy.mean),
            _number(column.accuracy.std),
            f"{column.seeds_done}/{column.seeds}",
        )
        for column in row.settings
    ]
    return Sheet(
        title=f"{row.label}: MA {ma} % ({row.cells_done} of {row.cells} cells done)",
        header=(("setting",), ("accuracy (%)",), ("± sd",), ("seeds done",)),
        rows=tuple(rows),
    )


def _cell_row(grid: Grid, cell: Cell) -> tuple[str, ...]:
    where = ", ".join(setting_parts(cell.setting, grid.settings))
    seconds = NOTHING if cell.seconds is None else f"{cell.seconds:.0f}"
    accuracies = (cell.accuracy("last"), cell.accuracy("last10"), cell.accuracy("best"))
    return (where, str(cell.seed), cell.state, *map(_number, accuracies), seconds, cell.cell_id)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
