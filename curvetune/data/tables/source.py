"""A source whose images are rows of a table (data/tables/), each read where it lies.

    --data-dir DIR   needed

Labels and class sizes are taken as they are, as those of a folder. A clean set that comes with the
data is where the meta set is drawn from, and is never trained on. True labels that are known judge
how well wrong ones are found, and nothing else.
"""

from dataclasses import replace
from pathlib import Path

from curvetune.data.stream import Indexed, index
from curvetune.data.stream.own import OwnImages
from curvetune.data.stream.report import OnBad
from curvetune.data.tables.rows import checked
from curvetune.errors import DataError


class TableSource(OwnImages):
    """The images of one form of data."""

    def __init__(
        self,
        name: str,
        image_size: int = 32,
        on_bad: OnBad = "fail",
        variant: str | None = None,
    ) -> None:
        """Resize images to `image_size`; leave bad ones out if `on_bad` is skip."""
        super().__init__(name, image_size, on_bad)
        self.variant = variant

    def _look(self, data_dir: Path | None) -> Indexed:
        # absolute, since a trial may have another working directory
        place = None if data_dir is None else data_dir.absolute()
        from curvetune.data.tables.forms import FORMS, read_table  # inside: it imports Arrow

        table = read_table(self.name, place, self.variant)
        assert data_dir is not None, "read_table says so"
        try:
            found = index(table, self.image_size, self.on_bad)
        except DataError as error:
            raise DataError(f"data.name={self.name}: {error}") from None
        checked(found.table, data_dir)
        facts = (f"{self.name}: {FORMS[self.name].what}", *_known(found))
        return replace(found, report=replace(found.report, facts=facts))


def _known(found: Indexed) -> list[str]:
    """Return what is known beside given labels, in words."""
    table = found.table
    lines = []
    if table.clean is not None:
        lines.append(f"{len(table.clean):,} of the training images are a clean set")
    if table.verified is not None:
        right, wrong = (int((table.verified == flag).sum()) for flag in (1, 0))
        lines.append(f"verified: {right:,} labels as right, {wrong:,} as wrong")
    if table.y_true is not None:
        known = int((table.y_true != -1).sum())
        lines.append(f"of {known:,} training images it is known whether their label is right")
    return lines
