"""Cells about labels that people gave: which labels these are, by their content."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from curvetune.config import CellConfig
from curvetune.data.people.labels import human_labels, labels_digest
from curvetune.data.source import Source


def with_labels(
    cells: Sequence[CellConfig], images: Source, data_dir: Path | None
) -> tuple[CellConfig, ...]:
    """Return the cells, each that is about people's labels with the digest of what is here.

    Without such a cell nothing is read.

    Raises:
        DataError: the labels are not there, or of other images.
    """
    name = next((cell.data.name for cell in cells if cell.bias.is_human), None)
    if name is None:
        return tuple(cells)
    found = human_labels(name, data_dir, images.train_labels(data_dir))
    return with_digests(cells, {kind: labels_digest(labels) for kind, labels in found.items()})


def with_digests(cells: Sequence[CellConfig], digests: Mapping[str, str]) -> tuple[CellConfig, ...]:
    """Return the cells, each that is about people's labels with the digest of its kind."""
    return tuple(_with(cell, digests) for cell in cells)


def _with(cell: CellConfig, digests: Mapping[str, str]) -> CellConfig:
    if cell.bias.noise not in digests:
        return cell
    bias = cell.bias.model_copy(update={"labels_digest": digests[cell.bias.noise]})
    return cell.model_copy(update={"bias": bias})
