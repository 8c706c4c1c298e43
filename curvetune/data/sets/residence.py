"""Whether the images of a set are kept on the device, or read as they are needed.

It decides nothing of the numbers, so it is no part of any address.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from curvetune.config.data import Residence
from curvetune.config.plugins import Transform
from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import Chosen, as_pixels
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.sets.streamed import StreamedSet
from curvetune.data.source import Dataset, Images
from curvetune.system.memory import free_memory

# Of the free memory, what a set may take to be resident: it is there twice while it is padded, the
# network needs the most of it, and other trials come later. Chosen, not measured.
SHARE = 0.1


def is_streamed(dataset: Dataset, residence: Residence, device: torch.device) -> bool:
    """Say whether the images of a data set are to be read as they are needed.

    `auto` keeps what is in memory anyway, and what is small beside the memory that is free.
    """
    parts = (dataset.train.x, dataset.test.x)
    if residence != "auto" or all(isinstance(x, np.ndarray) for x in parts):
        return residence == "streamed"
    free = _free(device)
    return free is None or sum(int(np.prod(x.shape)) for x in parts) > SHARE * free


def image_set(
    images: Images,
    rows: NDArray[np.int64],
    y: NDArray[np.int64],
    facts: Dataset,
    device: torch.device,
    transform: Transform | None = None,
    *,
    streamed: bool,
) -> ImageSet:
    """Return the set of some images, (n,), under the labels that they are given, (n,)."""
    if not streamed:
        return ResidentSet(images.x[rows], y, facts, device, transform)
    return StreamedSet(Chosen(as_pixels(images.x), rows), y, facts, device, transform)


def _free(device: torch.device) -> int | None:
    if device.type != "cuda":
        return free_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return free
