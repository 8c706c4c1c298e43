"""What a stored classifier says of the images that it was trained on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune import data
from curvetune.config import CellConfig, MethodConfig
from curvetune.config.plugins import check_loaded
from curvetune.data.sets.reading import reading
from curvetune.data.source import Dataset, Images
from curvetune.data.splits import Split
from curvetune.errors import ConfigError, DataError
from curvetune.training.split import evaluated

BATCH = 500  # images at once


def images_of(
    config: CellConfig, digest: str, data_dir: Path | None, notes: list[str]
) -> tuple[Dataset | None, tuple[str, ...] | None]:
    """Return the images of a cell and, of a folder, its files; nothing is downloaded for it.

    Args:
        notes: is told why there are none.

    Raises:
        DataError: they are others than those that the cell was trained on.
    """
    name = config.data.name
    try:
        for kind, used, ref in config.plugins:
            if kind in ("models", "sources"):
                check_loaded(ref, kind, used)
    except ConfigError as error:
        notes.append(f"no classifier is asked: {error}")
        return None, None
    size, variant = config.data.image_size, config.data.variant
    source = data.find_source(name, image_size=size, on_bad="skip", variant=variant)
    if data_dir is None and (isinstance(source, data.OWN) or source.train_labels(None) is None):
        notes.append(f"no classifier is asked: the images of {name} are not here; give --data-dir")
        return None, None
    if source.digest(data_dir) != digest:
        raise DataError(
            f"the images of {name} {'' if data_dir is None else f'in {data_dir} '}are others than "
            f"those that the cell was trained on (digest {digest[:12]}…); give their --data-dir"
        )
    files = source.train_files(data_dir) if isinstance(source, data.OWN) else None
    return source.load(data_dir), files


def predicted(
    config: CellConfig, dataset: Dataset, split: Split, path: Path, method: MethodConfig | None
) -> NDArray[np.float64]:
    """Return the probabilities, (N, K), that the classifier in `path` gives the training images.

    Args:
        method: that made it, since it may have a last layer of its own; None for a probe.

    Raises:
        CorruptError: the file is damaged, or of another classifier.
    """
    images = dataset.train, split.train
    return _asked(config, dataset, images, split.y, path, method)


def confusion_matrix(
    config: CellConfig, dataset: Dataset, split: Split, path: Path
) -> NDArray[np.int64]:
    """Return how often the classifier in `path` takes an evaluated image of class i for j, (K, K).

    Raises:
        CorruptError: the file is damaged, or of another classifier.
    """
    images, rows, y = evaluated(split, dataset)
    found = _asked(config, dataset, (images, rows), y, path, config.method).argmax(axis=1)
    pairs = np.bincount(y * dataset.num_classes + found, minlength=dataset.num_classes**2)
    return np.asarray(pairs.reshape(dataset.num_classes, -1), np.int64)


def _asked(
    config: CellConfig,
    dataset: Dataset,
    images: tuple[Images, NDArray[np.int64]],
    y: NDArray[np.int64],
    path: Path,
    method: MethodConfig | None,
) -> NDArray[np.float64]:
    """Return probabilities, (n, K), of some images, which are read batch by batch.

    Args:
        images: of which, and which of them, (n,).
        y: their given labels, (n,).
    """
    import torch

    from curvetune.classify.network import stored_network
    from curvetune.data.sets.residence import image_set

    model, scale = stored_network(config.model, method, dataset, path)
    asked = image_set(*images, y, dataset, torch.device("cpu"), streamed=True)
    with torch.inference_mode(), reading(asked.ordered(BATCH)) as batches:
        parts = [(scale * model(b.x)).softmax(dim=1).double() for b in batches]
    return np.asarray(torch.cat(parts).numpy(), np.float64)
