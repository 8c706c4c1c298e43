"""What the file of a figure is called: which grid and figure, and of which cell."""

import re

from curvetune.grids.cells import Grid
from curvetune.grids.labels import setting_parts
from curvetune.report.figures.of_grid import Drawn

LONGEST = 150  # letters; file systems take 255 bytes, and the end must fit
SHORT_ID = 6  # digits of an id that tell cells apart


def name_of(grid: Grid, drawn: Drawn) -> str:
    """Return the name of a figure's file without its ending.

    `digits-heat` is of a grid, and `digits-weights-curvenet-imbalance-10-noise-0.4-seed-0-4f21aa`
    of a cell. The digits of its id at the end keep cells apart whose names were cut or cleaned.
    """
    cell = next((cell for cell in grid.cells if cell.cell_id == drawn.cell_id), None)
    if cell is None:
        return _plain(f"{grid.name}-{drawn.name}")
    where = setting_parts(cell.setting, grid.settings)
    words = [grid.name, drawn.name, cell.label, *where, f"seed {cell.seed}"]
    return f"{_plain('-'.join(words))}-{cell.cell_id[:SHORT_ID]}"


def _plain(text: str) -> str:
    """Return a text that every file system takes and no shell reads: letters, digits, `.=_-`."""
    return re.sub(r"-+", "-", re.sub(r"[^\w.=-]", "-", text, flags=re.ASCII))[:LONGEST].strip("-.")
