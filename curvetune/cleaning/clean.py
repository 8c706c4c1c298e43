"""A data set without the suspects of a cell, or with their labels corrected, in a new folder."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune import data
from curvetune.analysis.averaged import suspects_of
from curvetune.analysis.suspects import COMBINED, Suspects
from curvetune.cleaning.change import (
    Amount,
    Change,
    check_classes,
    correction_changes,
    suspect_changes,
)
from curvetune.cleaning.files import write_as_list, write_class_folders, write_list
from curvetune.cleaning.parquet import RowChanges, write_parquet
from curvetune.cleaning.target import Target, check_out, new_folder
from curvetune.config import DataConfig
from curvetune.data import cifar
from curvetune.data.relabel import Samples, read_corrections
from curvetune.data.stream.own import OwnImages
from curvetune.data.tables import hugging_face, listed
from curvetune.data.tables.encoded import Chosen, Files
from curvetune.data.tables.parquet_rows import ParquetRows
from curvetune.data.tables.table import Table
from curvetune.errors import ConfigError, DataError, printable

WHAT_WAS_DONE = "cleaned.csv"
COLUMNS = ("path", "old_label", "new_label", "score", "reason", "action")

Names = Sequence[str]


@dataclass(frozen=True)
class Wanted:
    """What is to be cleaned, and how.

    Args:
        amount: of suspects.
        score: that they are ranked by.
        where: which cells of GRID/METHOD.
        relabel: give suspects the class that the classifier holds for the likeliest beside theirs.
        labels: a list of corrected labels instead of suspects.
        copies: of files, instead of links.
    """

    amount: Amount = field(default_factory=Amount)
    score: str = COMBINED
    where: tuple[str, ...] = ()
    relabel: bool = False
    labels: Path | None = None
    copies: bool = False


@dataclass(frozen=True)
class Cleaned:
    """What was written."""

    out: Path
    changes: tuple[Change, ...]
    train: int  # images to train on that are left
    data_name: str  # data.name that reads it

    @property
    def removed(self) -> int:
        """How many images were left out."""
        return sum(change.new is None for change in self.changes)

    @property
    def relabelled(self) -> int:
        """How many labels were changed."""
        return len(self.changes) - self.removed


@dataclass(frozen=True, eq=False)
class _Source:
    """The data of a cell, as it lies on the disk."""

    name: str
    data_dir: Path
    config: DataConfig
    table: Table | None  # None of CIFAR
    y: NDArray[np.int64]  # of all training images
    class_names: tuple[str, ...]
    files: Names  # what each training image is called


def clean(storage: Path, text: str, data_dir: Path | None, out: Path, wanted: Wanted) -> Cleaned:
    """Write the data of a cell anew to `out`, and return what was changed.

    Args:
        text: a cell, or GRID/METHOD.
        data_dir: of the data, which is only read.

    Raises:
        ConfigError: the cell is not to clean by, the data is of no form that can be written, or
            `out` is there already.
        DataError: the images are others, nothing is to be cleaned, or a class would be empty.
        StorageError: it cannot be written.
    """
    if data_dir is None:
        raise ConfigError("clean reads images where they lie; give their folder with --data-dir")
    check_out(out, data_dir)
    found = suspects_of(storage, text, data_dir, score=wanted.score, where=wanted.where)
    source = _source(found.config.data, data_dir)
    _check_name(source)
    changes = _changes(found, source, wanted)
    check_classes(changes, source.y, source.class_names)
    with new_folder(out, _root(source), copies=wanted.copies) as target:
        name = _write(source, changes, target)
        _tell(source, changes, target.path(WHAT_WAS_DONE))
    left = len(source.y) - sum(change.new is None for change in changes.values())
    return Cleaned(out, tuple(changes.values()), left, name)


def _check_name(source: _Source) -> None:
    """Refuse a list that the report would be written over.

    Raises:
        ConfigError: it is called so.
    """
    if source.name == "list" and (path := _list_file(source.data_dir)).name == WHAT_WAS_DONE:
        raise ConfigError(
            f"{printable(path)}: what `clean` does is written to a file of that name beside the "
            f"list; rename the list"
        )


def _changes(found: Suspects, source: _Source, wanted: Wanted) -> dict[int, Change]:
    if wanted.labels is None:
        return suspect_changes(found, source.y, wanted.amount, relabel=wanted.relabel)
    if wanted.relabel or wanted.amount != Amount():
        raise ConfigError(
            "--labels is what you know yourself, and --relabel, --top, --share and --above are of "
            "suspects; give one of them"
        )
    samples = Samples(len(source.y), source.class_names, source.files)
    labels = read_corrections(wanted.labels, samples).labels
    return correction_changes(labels, source.y, printable(wanted.labels.name))


def _source(config: DataConfig, data_dir: Path) -> _Source:
    """Return the data of a cell.

    Raises:
        ConfigError: it is of no form that can be written.
    """
    found = data.find_source(
        config.name, image_size=config.image_size, on_bad="skip", variant=config.variant
    )
    if isinstance(found, OwnImages):
        table = found.table(data_dir)
        if isinstance(_whole(table), Files | ParquetRows):
            files = found.train_files(data_dir)
            y = table.y[: table.train]
            return _Source(config.name, data_dir, config, table, y, table.class_names, files)
    if isinstance(found, cifar.Cifar) and (shards := found.shards(data_dir)) is not None:
        dataset = found.load(data_dir)
        names = [path.relative_to(data_dir).as_posix() for path in shards.train]
        rows = tuple(f"{name}:{row}" for name, n in _sizes(data_dir, names) for row in range(n))
        y, classes = dataset.train.y, dataset.class_names
        return _Source(config.name, data_dir, config, None, y, classes, rows)
    raise ConfigError(
        f"data.name={config.name}: these images are in no form that `clean` writes; allowed are "
        f"folders of classes, lists of files and Parquet. `curvetune suspects CELL --format csv` "
        f"lists what to leave out"
    )


def _write(source: _Source, changes: Mapping[int, Change], target: Target) -> str:
    """Write the data, and return the data.name that reads it."""
    table, data_dir = source.table, source.data_dir
    if table is None or isinstance(_whole(table), ParquetRows):
        _write_parquet(source, changes, target)
    elif source.name == "folder":
        write_class_folders(data_dir, table, changes, target)
    elif source.name == "list":
        write_list(_list_file(data_dir), table, changes, target)
    else:
        write_as_list(table, changes, target)
        return "list"
    return source.name


def _write_parquet(source: _Source, changes: Mapping[int, Change], target: Target) -> None:
    new: dict[str, dict[int, int | None]] = {}
    y: dict[str, dict[int, int]] = {}
    for k, text in enumerate(source.files):
        file, _, row = text.rpartition(":")
        y.setdefault(file, {})[int(row)] = int(source.y[k])
        if k in changes:
            new.setdefault(file, {})[int(row)] = changes[k].new
    column, train, others = _parquet_files(source)
    write_parquet(source.data_dir, train, others, RowChanges(column, new, y), target)


def _parquet_files(source: _Source) -> tuple[str, Names, Names]:
    """Return the column of labels, the files to train on, and those to test on."""
    data_dir = source.data_dir
    if source.table is None:
        found = data.find_source(source.name)
        assert isinstance(found, cifar.Cifar)
        shards = found.shards(data_dir)
        assert shards is not None
        column, files, others = found.column, [*shards.train], [*shards.test]
    else:
        column, files, others = hugging_face.parts(data_dir, source.config.variant)
    train, test = (
        [path.relative_to(data_dir).as_posix() for path in paths] for paths in (files, others)
    )
    return column, train, test


def _tell(source: _Source, changes: Mapping[int, Change], path: Path) -> None:
    """Write what was done to each image, the worst first."""
    order = sorted(changes.values(), key=lambda change: (-(change.score or 2.0), change.index))
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for change in order:
            names = [
                "" if k is None else printable(source.class_names[k])
                for k in (change.old, change.new)
            ]
            score = "" if change.score is None else f"{change.score:.6f}"
            action = "removed" if change.new is None else "relabelled"
            name = printable(source.files[change.index], 4096)
            out.writerow([name, *names, score, change.reason, action])


def _whole(table: Table) -> object:
    """Return where the images of a table are, of which some may be left out."""
    encoded = table.encoded
    while isinstance(encoded, Chosen):
        encoded = encoded.of
    return encoded


def _root(source: _Source) -> Path:
    """Return the folder that names of files are relative to."""
    whole = None if source.table is None else _whole(source.table)
    return whole.folder if isinstance(whole, Files) else source.data_dir


def _list_file(data_dir: Path) -> Path:
    found = listed.find(data_dir)
    if found is None:
        raise DataError(f"--data-dir {printable(data_dir)}: its list is gone; put it back")
    return found


def _sizes(data_dir: Path, names: Names) -> list[tuple[str, int]]:
    import pyarrow.parquet as pq

    return [(name, pq.read_metadata(data_dir / name).num_rows) for name in names]
