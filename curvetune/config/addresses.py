"""The addresses of many cells of one data set, which are those that each cell says of itself.

Cells of a grid share most of their sections. So what a section has in an identity is written once,
as canonical JSON, and an identity is put together of these texts. To write it anew for each cell
takes several times as long. `CellConfig.cell_identity` says what is in one.
"""

from curvetune.config.base import Section
from curvetune.config.cell import CELL_VERSION, PROBE_VERSION, SPLIT_VERSION, CellConfig
from curvetune.config.data import DataConfig
from curvetune.config.fingerprint import address, canonical, together
from curvetune.config.shared import PerSection

NONE = "null"


class Addresses:
    """The addresses of cells of data with this content digest."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._texts = PerSection()

    def cell_id(self, cell: CellConfig) -> str:
        """Return what `cell.cell_id` does."""
        parts = {
            "version": str(CELL_VERSION),
            "split": self._split(cell),
            "model": self._section("model", cell.model),
            "probe": self._recipe(cell),
            "allocate": self._section("allocate", cell.allocate),
            "method": self._section("method", cell.method),
        }
        return address(together(parts | self._transform(cell.data)))

    def probe_id(self, cell: CellConfig) -> str | None:
        """Return what `cell.probe_id` does."""
        if (recipe := self._recipe(cell)) == NONE:
            return None
        parts = {
            "version": str(PROBE_VERSION),
            "split": self._split(cell),
            "model": self._section("model", cell.model),
            "probe": recipe,
        }
        return address(together(parts | self._transform(cell.data)))

    def _split(self, cell: CellConfig) -> str:
        def data() -> str:
            return canonical(cell.data.identity() | {"digest": self._digest})

        parts = {
            "version": str(SPLIT_VERSION),
            "data": self._texts.once(data, "data", cell.data),
            "bias": self._section("bias", cell.bias),
            "seed": str(cell.seed),
        }
        return together(parts)

    def _recipe(self, cell: CellConfig) -> str:
        """Return the text of the recipe of a cell's probe: null if it has none."""

        def recipe() -> str:
            found = cell.probe_recipe
            return canonical(found.identity()) if found else NONE

        return self._texts.once(recipe, "recipe", cell.method, cell.probe, cell.allocate)

    def _transform(self, data: DataConfig) -> dict[str, str]:
        def transform() -> dict[str, str]:
            return {key: canonical(value) for key, value in data.transform_identity().items()}

        return self._texts.once(transform, "transform", data)

    def _section(self, name: str, section: Section) -> str:
        return self._texts.once(lambda: canonical(section.identity()), name, section)
