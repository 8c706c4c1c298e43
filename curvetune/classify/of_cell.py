"""The classifier of a cell that is done, out of a storage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curvetune import data
from curvetune.classify.classifier import Classifier
from curvetune.classify.network import stored_network
from curvetune.config import CellConfig
from curvetune.config.plugins import check_loaded
from curvetune.data.recipe import fed
from curvetune.errors import DataError, printable
from curvetune.grids.catalog import Catalog
from curvetune.grids.naming import find_cell, result_of
from curvetune.store import CellStore
from curvetune.store.names import MODEL
from curvetune.training.classifier_facts import RESULT_KEY, ClassifierFacts


def classifier_of(storage: Path, cell: str, data_dir: Path | None = None) -> Classifier:
    """Return the final classifier of a cell, on the CPU.

    Args:
        cell: its id, the first digits of it, or GRID/METHOD if that is one cell.
        data_dir: of the images, which only results of older versions have to be told.

    Raises:
        ConfigError: there is no such cell, it is not done, its classifier stayed elsewhere, or a
            plugin of it is not loaded.
        CorruptError: its file is damaged.
        DataError: an older version stored no class names, and the images are not here.
    """
    cell_id = find_cell(storage, cell)
    config, digest = Catalog(storage).config(cell_id)
    store = CellStore(storage)
    done = result_of(store, cell_id, MODEL, "classifier")
    for kind, name, ref in config.plugins:
        if kind in ("methods", "models"):
            check_loaded(ref, kind, name)
    facts = facts_of(cell_id, done, config, digest, data_dir)
    path = store.folder(cell_id) / MODEL
    network, scale = stored_network(config.model, config.method, facts, path)
    return Classifier(network, scale, facts, cell_id)


def facts_of(
    cell_id: str,
    done: Mapping[str, Any],
    config: CellConfig,
    digest: str,
    data_dir: Path | None,
) -> ClassifierFacts:
    """Return how images are fed to a cell's classifier, as its result or else its data says.

    Raises:
        CorruptError: the result says something else.
        DataError: it is of an older version, and the images are not here.
    """
    if RESULT_KEY in done:
        return ClassifierFacts.from_json(done[RESULT_KEY], f"cell {cell_id}")
    return _facts_of_data(cell_id, config, digest, data_dir)


def _facts_of_data(
    cell_id: str, config: CellConfig, digest: str, data_dir: Path | None
) -> ClassifierFacts:
    name = config.data.name
    for kind, used, ref in config.plugins:
        if kind == "sources":
            check_loaded(ref, kind, used)
    size, variant = config.data.image_size, config.data.variant
    source = data.find_source(name, image_size=size, on_bad="skip", variant=variant)
    lacks = (
        f"cell {cell_id} was run by an older version, which kept neither the names of its classes "
        f"nor how images are fed to it; they are read from its images"
    )
    if data_dir is None and (isinstance(source, data.OWN) or source.train_labels(None) is None):
        raise DataError(f"{lacks}, and those of {name} are not here: give --data-dir DIR")
    if source.digest(data_dir) != digest:
        where = "here" if data_dir is None else f"in {printable(data_dir)}"
        raise DataError(
            f"{lacks}, and those of {name} {where} are others than it was trained on (digest "
            f"{digest[:12]}…): give the --data-dir that its grid was run with"
        )
    return ClassifierFacts.of(fed(source.load(data_dir), config.data, digest))
