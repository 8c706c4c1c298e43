"""What `relabel` does before anything runs: read corrected labels, plan the cells that change.

It raises and returns; whoever calls it prints. The command line is cli/relabel.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from curvetune.errors import ConfigError
from curvetune.known import has_probe, is_done
from curvetune.places import Places
from curvetune.planning.relabel import Change, Labels, Relabelling, relabelled_name
from curvetune.run import checked

if TYPE_CHECKING:
    from curvetune.config import CellConfig
    from curvetune.data import Dataset, Source
    from curvetune.data.relabel import Corrections, Samples
    from curvetune.data.splits import Split
    from curvetune.planning.plan import Plan
    from curvetune.run import Tell


@dataclass(frozen=True)
class Relabelled:
    """What corrections come to: what they do to each cell, and the grid that comes of it."""

    what: Relabelling
    plan: "Plan"  # of the new grid: cells that stay, and what becomes of the others
    contents: Mapping[str, bytes]  # by address, the files of corrected labels that it needs

    def keep(self, storage: Path) -> None:
        """Write the corrected labels to the storage, so that the list is needed no more.

        Raises:
            StorageError: they cannot be written.
        """
        from curvetune.store.relabels import write_relabel

        for content in self.contents.values():
            write_relabel(storage, content)


def make_relabel(grid: str, labels: Path, places: Places, tell: "Tell") -> Relabelled:
    """Return what the corrected labels in a file do to the finished cells of a grid.

    Changes nothing: `Relabelled.keep` and `run_plan` do.

    Args:
        tell: hears what there is to know of results and probes that are reused.

    Raises:
        ConfigError: there is no such grid, nothing of it is done, the data is another one than
            the grid's, or the file is not right.
    """
    from curvetune.data.relabel import read_corrections
    from curvetune.planning.again import made_of
    from curvetune.planning.plan import build_plan
    from curvetune.planning.recorded import profile_of
    from curvetune.planning.space import Space
    from curvetune.store import CellStore, CurveStore
    from curvetune.system.source_code import Code, others, this_code

    made: list[Code] = []
    is_there = cache(partial(is_done, CellStore(places.storage), made))  # many are in both grids
    base = _base(grid, places, is_there)
    images = places.source(base.cells[0].config.data)
    dataset = images.load(places.data_dir)
    found = read_corrections(labels, _samples(images, dataset, places))
    making = _Making(base, dataset, places.storage, found)
    changes = tuple(making.change(cell.config) for cell in base.cells if cell.done)
    name = relabelled_name(grid, making.address(found.labels))
    profile = profile_of(CellStore(places.storage).read_grid(grid))
    space = Space(name, tuple(change.config for change in changes), profile)
    plan = build_plan(
        space,
        base.digest,
        is_done=is_there,
        has_probe=partial(has_probe, CurveStore(places.storage), tell),
    )
    plan = replace(plan, made=made_of(space, places.data_dir, places.on_bad))
    if (said := others(made, this_code())) is not None:
        tell(said)
    what = Relabelling(
        base=grid,
        name=name,
        changes=changes,
        size=len(found.labels),
        empty=found.empty,
        unused=making.unused(changes),
        missing=len(base.left),
    )
    return Relabelled(what, checked(plan, images, places), making.contents)


def _base(grid: str, places: Places, is_there: Callable[[str], bool]) -> "Plan":
    """Return a recorded grid as a plan.

    Raises:
        ConfigError: there is no such grid, nothing of it is done, or the data is another one.
    """
    from curvetune.planning.plan import build_plan, recorded_cell
    from curvetune.planning.retry import check_data
    from curvetune.planning.space import Space
    from curvetune.store import CellStore

    recorded = CellStore(places.storage).read_grid(grid)
    digest, command = str(recorded["data_digest"]), str(recorded.get("command", ""))
    cells = tuple(recorded_cell(entry, digest, grid, command) for entry in recorded["cells"])
    plan = build_plan(Space(grid, cells), digest, is_done=is_there, has_probe=lambda _: False)
    if len(plan.left) == len(plan.cells):
        raise ConfigError(
            f"grid {grid!r}: none of its {len(cells)} cells is done, so there is nothing that "
            f"corrected labels could be better than; run it first: {command}"
        )
    check_data(plan, places.source(cells[0].data).digest(places.data_dir), places.data_dir)
    return plan


def _samples(images: "Source", dataset: "Dataset", places: Places) -> "Samples":
    """Return what a list of labels can be about."""
    from curvetune.data import OWN
    from curvetune.data.relabel import Samples

    files = images.train_files(places.data_dir) if isinstance(images, OWN) else None
    return Samples(len(dataset.train), dataset.class_names, files)


class _Making:
    """Finds what corrections do to each cell, and makes the files that the new cells read."""

    def __init__(
        self, base: "Plan", dataset: "Dataset", storage: Path, found: "Corrections"
    ) -> None:
        self._digest, self._dataset, self._storage = base.digest, dataset, storage
        self._labels = found.labels
        self._splits: dict[str, Split] = {}
        self.contents: dict[str, bytes] = {}

    def address(self, labels: Labels) -> str:
        """Return the address of corrections, whose file is then one of `contents`."""
        from curvetune.store.relabels import relabel_content, relabel_digest

        content = relabel_content(labels, self._dataset.class_names, self._digest)
        digest = relabel_digest(content)
        self.contents[digest] = content
        return digest

    def change(self, cell: "CellConfig") -> Change:
        """Return what the corrections do to a cell."""
        import numpy as np

        from curvetune.training.split import truth_stays

        split, corrections = self._split(cell), self._labels
        new = split.relabelled(corrections, truth_is_added=truth_stays(cell, self._dataset))
        applied = int((new.y != split.y).sum())
        agreed = int(np.isin(split.train, list(corrections)).sum()) - applied
        config = self._relabelled(cell, new) if applied else cell
        old_id, new_id = (one.cell_id(self._digest) for one in (cell, config))
        return Change(cell, old_id, new_id, config, applied, agreed)

    def _relabelled(self, cell: "CellConfig", new: "Split") -> "CellConfig":
        """Return the cell whose split is `new`: one that is known, if labels were taken back."""
        import numpy as np

        labels, before = self._labels, cell.data.relabel
        if before is not None:
            plain = _with(cell, None)
            if np.array_equal(self._split(plain).y, new.y):
                return plain
            labels = {**self._earlier(before), **labels}
        return _with(cell, self.address(labels))

    def unused(self, changes: tuple[Change, ...]) -> int:
        """Return how many corrections are of samples that no training set has."""
        import numpy as np

        trained = {change.old.split_id(self._digest): change.old for change in changes}.values()
        seen = np.unique(np.concatenate([self._split(cell).train for cell in trained]))
        return int((~np.isin(list(self._labels), seen)).sum())

    def _split(self, cell: "CellConfig") -> "Split":
        from curvetune.training.split import find_split

        split_id = cell.split_id(self._digest)
        if split_id not in self._splits:
            self._splits[split_id] = find_split(cell, self._digest, self._dataset, self._storage)
        return self._splits[split_id]

    def _earlier(self, relabel: str) -> Labels:
        from curvetune.store.relabels import read_relabel

        return read_relabel(self._storage, relabel, self._digest)


def _with(cell: "CellConfig", relabel: str | None) -> "CellConfig":
    return cell.model_copy(update={"data": cell.data.model_copy(update={"relabel": relabel})})
